//! Hashes of bytes: FarmHash's Fingerprint64, SipHash-2-4, and the way in which TensorFlow joins two fingerprints.
//! All arithmetic is that of 64 bits without carry.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
/// The multiplier of TensorFlow's FingerprintCat64.
const CAT: u64 = 0xc6a4_a793_5bd1_e995;

/// Eight bytes from `at`, the lowest first.
fn word(bytes: &[u8], at: usize) -> u64 {
    little(&bytes[at..at + 8])
}

/// Up to eight bytes, the lowest first.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

/// Sixteen bytes to eight.
fn join(low: u64, high: u64, by: u64) -> u64 {
    let a = mix((low ^ high).wrapping_mul(by));
    mix((high ^ a).wrapping_mul(by)).wrapping_mul(by)
}

/// FarmHash's Fingerprint64.
pub fn fingerprint64(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    let by = K2.wrapping_add(2 * len as u64);
    match len {
        0 => K2,
        1..4 => {
            let (a, b, c) = (bytes[0], bytes[len / 2], bytes[len - 1]);
            let y = u64::from(a) + (u64::from(b) << 8);
            let z = len as u64 + (u64::from(c) << 2);
            mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
        }
        4..8 => join((little(&bytes[..4]) << 3).wrapping_add(len as u64), little(&bytes[len - 4..]), by),
        8..17 => {
            let a = word(bytes, 0).wrapping_add(K2);
            let b = word(bytes, len - 8);
            let c = b.rotate_right(37).wrapping_mul(by).wrapping_add(a);
            join(c, a.rotate_right(25).wrapping_add(b).wrapping_mul(by), by)
        }
        17..33 => {
            let (low, high) = halves(bytes, K1, by);
            join(low, high, by)
        }
        33..65 => up_to_64(bytes, by),
        _ => long(bytes),
    }
}

/// What the first and the last sixteen bytes make.
fn halves(bytes: &[u8], first: u64, by: u64) -> (u64, u64) {
    let len = bytes.len();
    let (a, b) = (word(bytes, 0).wrapping_mul(first), word(bytes, 8));
    let (c, d) = (word(bytes, len - 8).wrapping_mul(by), word(bytes, len - 16).wrapping_mul(K2));
    let low = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    (low, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c))
}

fn up_to_64(bytes: &[u8], by: u64) -> u64 {
    let len = bytes.len();
    let a = word(bytes, 0).wrapping_mul(K2);
    let (y, high) = halves(bytes, K2, by);
    let z = join(y, high, by);
    let (e, f) = (word(bytes, 16).wrapping_mul(by), word(bytes, 24));
    let g = y.wrapping_add(word(bytes, len - 32)).wrapping_mul(by);
    let h = z.wrapping_add(word(bytes, len - 24)).wrapping_mul(by);
    let low = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    join(low, e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g), by)
}

/// The state of a hash of more than 64 bytes.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

impl State {
    /// Takes in 64 bytes. The last block has factors of its own.
    fn block(&mut self, bytes: &[u8], by: u64, last: bool) {
        let (of_x, of_y) = if last { (9, 9) } else { (1, 1) };
        let sum = self.x.wrapping_add(self.y).wrapping_add(self.v.0).wrapping_add(word(bytes, 8));
        let x = sum.rotate_right(37).wrapping_mul(by) ^ self.w.1.wrapping_mul(of_x);
        let sum = self.y.wrapping_add(self.v.1).wrapping_add(word(bytes, 48));
        let y = sum.rotate_right(42).wrapping_mul(by);
        let y = y.wrapping_add(self.v.0.wrapping_mul(of_y)).wrapping_add(word(bytes, 40));
        let z = self.z.wrapping_add(self.w.0).rotate_right(33).wrapping_mul(by);
        self.v = weak(&bytes[..32], self.v.1.wrapping_mul(by), x.wrapping_add(self.w.0));
        self.w = weak(&bytes[32..], z.wrapping_add(self.w.1), y.wrapping_add(word(bytes, 16)));
        (self.x, self.y, self.z) = (z, y, x);
    }
}

/// 32 bytes under two seeds.
fn weak(bytes: &[u8], a: u64, b: u64) -> (u64, u64) {
    let a = a.wrapping_add(word(bytes, 0));
    let b = b.wrapping_add(a).wrapping_add(word(bytes, 24)).rotate_right(21);
    let sum = a.wrapping_add(word(bytes, 8)).wrapping_add(word(bytes, 16));
    (sum.wrapping_add(word(bytes, 24)), b.wrapping_add(sum.rotate_right(44)).wrapping_add(a))
}

fn long(bytes: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let y = SEED.wrapping_mul(K1).wrapping_add(113);
    let z = mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    let x = SEED.wrapping_mul(K2).wrapping_add(word(bytes, 0));
    let mut state = State { x, y, z, v: (0, 0), w: (0, 0) };
    let rest = (bytes.len() - 1) % 64;
    let whole = bytes.len() - 1 - rest;
    bytes[..whole].chunks_exact(64).for_each(|block| state.block(block, K1, false));
    let by = K1.wrapping_add((state.z & 0xff) << 1);
    state.w.0 = state.w.0.wrapping_add(rest as u64);
    state.v.0 = state.v.0.wrapping_add(state.w.0);
    state.w.0 = state.w.0.wrapping_add(state.v.0);
    state.block(&bytes[bytes.len() - 64..], by, true);
    let State { x, y, z, v, w } = state;
    let low = join(v.0, w.0, by).wrapping_add(mix(y).wrapping_mul(K0)).wrapping_add(z);
    join(low, join(v.1, w.1, by).wrapping_add(x), by)
}

/// SipHash-2-4 under a key of two numbers.
pub fn sip_hash(bytes: &[u8], key: (u64, u64)) -> u64 {
    fn round(v: &mut [u64; 4]) {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
    // "somepseudorandomlygeneratedbytes"
    let begin = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    let mut v = [begin[0] ^ key.0, begin[1] ^ key.1, begin[2] ^ key.0, begin[3] ^ key.1];
    let take = |v: &mut [u64; 4], number: u64| {
        v[3] ^= number;
        round(v);
        round(v);
        v[0] ^= number;
    };
    let words = bytes.chunks_exact(8);
    let rest = little(words.remainder()) | (bytes.len() as u64) << 56;
    words.map(little).for_each(|number| take(&mut v, number));
    take(&mut v, rest);
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// Two fingerprints as one: TensorFlow's FingerprintCat64.
pub fn cat(first: u64, second: u64) -> u64 {
    let mixed = mix(second.wrapping_mul(CAT)).wrapping_mul(CAT);
    let joined = (first ^ CAT ^ mixed).wrapping_mul(CAT);
    mix(mix(joined).wrapping_mul(CAT))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As TensorFlow gives them, modulo 2^63 - 1: fast, and strong under the key 133, 137.
    const KNOWN: &[(&str, usize, u64, u64)] = &[
        ("", 1, 1936946117179621456, 4928313950774450900),
        ("a", 1, 3694432073954588132, 7077939996121841354),
        ("abc", 1, 2640714258260161385, 6899845086433867945),
        ("-17", 1, 1485334449061584845, 7568070748563712509),
        ("hello world", 1, 6381520714923946011, 3672456908529363296),
        ("abcdefgh", 1, 9145071594317031690, 4821859048491749637),
        ("0123456789abcdef", 1, 6105018409752412263, 4045071960732599655),
        ("0123456789abcdef0", 1, 7920484519069722889, 7049863512999472410),
        ("x", 32, 3678204687145032710, 814092544179586341),
        ("x", 33, 3046993373088323128, 7959349581776540777),
        ("\u{e9}", 1, 693143013273849025, 2424455697274809134),
        ("the quick brown fox jumps over the lazy dog", 1, 3200379034145657812, 1129845220512511072),
        // What follows is of a length at each border.
        ("y", 63, 8489596742954495578, 7583260954263816508),
        ("y", 64, 4471793200125962424, 6417337102380857910),
        ("y", 65, 4023130470993650269, 4475297591810910813),
        ("z", 100, 9220849947163966073, 4010890046376279846),
        ("0123456789", 20, 439712990348739478, 4528525014586130858),
    ];

    #[test]
    fn hashes_are_those_of_tensorflow() {
        for (text, times, fast, strong) in KNOWN {
            let text = text.repeat(*times);
            let of = |hash: u64| hash % i64::MAX as u64;
            assert_eq!(of(fingerprint64(text.as_bytes())), *fast, "{text:?}");
            assert_eq!(of(sip_hash(text.as_bytes(), (133, 137))), *strong, "{text:?}");
        }
    }
}
