// Files as numpy.savez writes them: zips of .npy members, stored or deflated.
import { readFileSync, writeFileSync } from "node:fs";
import { inflateRawSync } from "node:zlib";

const TYPES = {
  "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "<i8": BigInt64Array, "<u4": Uint32Array,
  "<i2": Int16Array, "<u2": Uint16Array, "|i1": Int8Array, "|u1": Uint8Array, "|b1": Uint8Array,
};

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}

/** One .npy as { dtype, shape, values }: plain numbers in row-major order. */
function array(bytes) {
  const text = (from, to) => bytes.subarray(from, to).toString("latin1");
  const start = bytes[6] === 1 ? 10 : 12;
  const end = start + (bytes[6] === 1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8));
  const header = text(start, end);
  const dtype = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").filter((s) => s.trim()).map(Number);
  if (/'fortran_order': True/.test(header) && shape.length > 1) throw new Error("an array in Fortran's order");
  const body = Uint8Array.from(bytes.subarray(end)).buffer;
  if (dtype === "<f2") return { dtype, shape, values: Array.from(new Uint16Array(body), half) };
  if (!TYPES[dtype]) throw new Error(`an array of ${dtype}`);
  return { dtype, shape, values: Array.from(new TYPES[dtype](body), Number) };
}

/** Name -> array. */
export function npz(path) {
  const bytes = readFileSync(path);
  let end = bytes.length - 22;
  while (bytes.readUInt32LE(end) !== 0x06054b50) end--;
  const found = {};
  for (let i = bytes.readUInt16LE(end + 10), at = bytes.readUInt32LE(end + 16); i > 0; i--) {
    const name = bytes.subarray(at + 46, at + 46 + bytes.readUInt16LE(at + 28)).toString();
    const local = bytes.readUInt32LE(at + 42), size = bytes.readUInt32LE(at + 20);
    const body = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const packed = bytes.subarray(body, body + size);
    found[name.replace(/\.npy$/, "")] = array(bytes.readUInt16LE(at + 10) ? inflateRawSync(packed) : packed);
    at += 46 + bytes.readUInt16LE(at + 28) + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return found;
}

// --- writing ---------------------------------------------------------------------------------------------------------

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

const crc = (bytes) => ~bytes.reduce((sum, byte) => CRC[(sum ^ byte) & 255] ^ (sum >>> 8), ~0) >>> 0;

/** A tensor as a .npy. */
function npy({ dtype, shape, values }) {
  const descr = { float32: "<f4", int32: "<i4", bool: "|b1" }[dtype];
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.map((n) => `${n},`).join(" ")}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64)* 64 - 11) + "\n";
  const head = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${padded}`, "latin1");
  head.writeUInt16LE(padded.length, 8);
  return Buffer.concat([head, Buffer.from(new TYPES[descr](values).buffer)]);
}

/** Writes { name: { dtype, shape, values } } as numpy.savez would. */
export function savez(path, arrays) {
  const files = [], entries = [];
  let offset = 0;
  for (const [name, array] of Object.entries(arrays)) {
    const body = npy(array), file = Buffer.from(`${name}.npy`);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x21, 8);
    common.writeUInt32LE(crc(body), 10);
    common.writeUInt32LE(body.length, 14);
    common.writeUInt32LE(body.length, 18);
    common.writeUInt16LE(file.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, file, body]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    entries.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), common, tail, file]));
    files.push(local);
    offset += local.length;
  }
  const end = Buffer.alloc(18);
  const size = entries.reduce((sum, entry) => sum + entry.length, 0);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(size, 8);
  end.writeUInt32LE(offset, 12);
  writeFileSync(path, Buffer.concat([...files, ...entries, Buffer.from("PK\x05\x06"), end]));
}
