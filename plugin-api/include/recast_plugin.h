/* recast_plugin.h - the boundary between recast and its plugins, ABI 1. Frozen: see the crate recast-abi, which says
 * the same in Rust; a test compares both, field by field.
 *
 * A plugin in C exports one data symbol and puts its manifest (JSON) into one ELF section:
 *
 *     __attribute__((section(".recast_manifest"), used))
 *     static const char manifest_text[] = "{\"schema\":1, ...}";
 *     const struct RecastEntry recast_plugin_entry_v1 = {
 *         RECAST_MAGIC, sizeof(struct RecastEntry), RECAST_ABI_MAJOR, manifest, init, get_extension };
 *
 * Threads: the host calls a plugin from one thread at a time; host functions may be called from any thread.
 * Owners: who allocates frees. Nothing that crosses belongs to its receiver; bytes are borrowed until the call that
 * carried them returns; what `manifest` and `get_extension` return lives as long as the process.
 * Results go to `emit`, never by value. Unloading does not exist. Payloads are protobuf messages.
 */
#ifndef RECAST_PLUGIN_H
#define RECAST_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "RECASTP1", little-endian. */
#define RECAST_MAGIC UINT64_C(0x3150545341434552)
#define RECAST_ABI_MAJOR 1u

/* Extensions of a plugin. */
#define RECAST_SOURCE "recast.source/1"
#define RECAST_TARGET "recast.target/1"
#define RECAST_LAYERS "recast.layers/1"
#define RECAST_SELFTEST "recast.selftest/1"
#define RECAST_CHECK "recast.check/1"

/* Extensions of a host. */
#define RECAST_HOST_LOG "recast.host.log/1"
#define RECAST_HOST_FILES "recast.host.files/1"
#define RECAST_HOST_SCRATCH "recast.host.scratch/1"
#define RECAST_HOST_TENSOR "recast.host.tensor/1"
#define RECAST_HOST_OUTPUT "recast.host.output/1"
#define RECAST_HOST_LOWER "recast.host.lower/1"
#define RECAST_HOST_PROGRESS "recast.host.progress/1"
#define RECAST_HOST_CANCEL "recast.host.cancel/1"
#define RECAST_HOST_THREADS "recast.host.threads/1"

/* What a call returns. */
#define RECAST_OK 0
#define RECAST_UNSUPPORTED (-1)
#define RECAST_BAD_INPUT (-2)
#define RECAST_IO (-3)
#define RECAST_CANCELLED (-4)
#define RECAST_INTERNAL (-5)
#define RECAST_MISUSE (-6)
#define RECAST_PANIC (-100)

/* Streams of `emit`; output files get numbers from RECAST_STREAM_FIRST_OUTPUT on. */
#define RECAST_STREAM_RESULT 0u
#define RECAST_STREAM_ERROR 1u
#define RECAST_STREAM_DIAGNOSTIC 2u
#define RECAST_STREAM_FIRST_OUTPUT 3u

/* Levels of `log`. */
#define RECAST_LEVEL_ERROR 1u
#define RECAST_LEVEL_WARN 2u
#define RECAST_LEVEL_INFO 3u
#define RECAST_LEVEL_DEBUG 4u
#define RECAST_LEVEL_TRACE 5u

/* Element types of a tensor view. */
#define RECAST_BOOL 1u
#define RECAST_I8 2u
#define RECAST_U8 3u
#define RECAST_I16 4u
#define RECAST_U16 5u
#define RECAST_I32 6u
#define RECAST_U32 7u
#define RECAST_I64 8u
#define RECAST_U64 9u
#define RECAST_F16 10u
#define RECAST_BF16 11u
#define RECAST_F32 12u
#define RECAST_F64 13u

/* Bytes that somebody else owns. `ptr` may be null when `len` is 0. */
struct RecastBytes {
    const uint8_t *ptr;
    size_t len;
};

/* A tensor in memory that the host mapped: row-major, little-endian, without gaps. */
struct RecastTensorView {
    uint32_t dtype;
    uint32_t rank;
    const int64_t *dims;
    struct RecastBytes data;
    uint32_t align;
    uint32_t flags;
};

/* What a plugin talks to the host with. The one of `init` lives as long as the process and takes no results; the one
 * of a call lives until that call returns. `ctx` is the first argument of every host function. */
struct RecastHost {
    uint32_t struct_size;
    uint32_t abi_major;
    void *ctx;
    void (*log)(void *ctx, uint32_t level, struct RecastBytes target, struct RecastBytes message);
    int32_t (*emit)(void *ctx, uint32_t stream, struct RecastBytes chunk);
    const void *(*get_extension)(void *ctx, struct RecastBytes id);
};

/* Exported as the data symbol `recast_plugin_entry_v1`. */
struct RecastEntry {
    uint64_t magic;
    uint32_t struct_size;
    uint32_t abi_major;
    struct RecastBytes (*manifest)(void);
    int32_t (*init)(const struct RecastHost *host);
    const void *(*get_extension)(struct RecastBytes id);
};

/* recast.source/1 */
struct RecastSourceV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*probe)(const struct RecastHost *host, struct RecastBytes head, struct RecastBytes name);
    int32_t (*describe)(const struct RecastHost *host, struct RecastBytes request); /* may be null */
    int32_t (*read)(const struct RecastHost *host, struct RecastBytes request);
};

/* recast.target/1 */
struct RecastTargetV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*capabilities)(const struct RecastHost *host);
    int32_t (*write)(const struct RecastHost *host, struct RecastBytes target, struct RecastBytes request);
};

/* recast.layers/1 */
struct RecastLayersV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*list)(const struct RecastHost *host);
    int32_t (*infer_shape)(const struct RecastHost *host, struct RecastBytes request); /* may be null */
    int32_t (*lower)(const struct RecastHost *host, struct RecastBytes request);
    int32_t (*eval)(const struct RecastHost *host, struct RecastBytes request); /* may be null */
};

/* recast.selftest/1 */
struct RecastSelftestV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*cases)(const struct RecastHost *host);
};

/* recast.check/1 */
struct RecastCheckV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*check)(const struct RecastHost *host, struct RecastBytes target, struct RecastBytes request);
};

/* recast.host.log/1 */
struct RecastHostLogV1 {
    uint32_t struct_size;
    uint32_t level_max;
};

/* recast.host.files/1 */
struct RecastHostFilesV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*map)(void *ctx, struct RecastBytes path, struct RecastBytes *out);
};

/* recast.host.scratch/1 */
struct RecastHostScratchV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*create)(void *ctx, struct RecastBytes *path);
    int64_t (*append)(void *ctx, uint32_t file, struct RecastBytes chunk);
};

/* recast.host.tensor/1 */
struct RecastHostTensorV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*get)(void *ctx, struct RecastBytes name, struct RecastTensorView *out);
    int32_t (*view)(void *ctx, struct RecastBytes tensor, struct RecastTensorView *out);
    void (*done)(void *ctx, const struct RecastTensorView *view);
};

/* recast.host.output/1 */
struct RecastHostOutputV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*open)(void *ctx, struct RecastBytes name);
    int32_t (*close)(void *ctx, uint32_t stream);
};

/* Receives the reply of `lower_child`. */
typedef void (*RecastReply)(void *user, struct RecastBytes bytes);

/* recast.host.lower/1 */
struct RecastHostLowerV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*lower_child)(void *ctx, struct RecastBytes request, RecastReply reply, void *user);
};

/* recast.host.progress/1 */
struct RecastHostProgressV1 {
    uint32_t struct_size;
    uint32_t reserved;
    void (*report)(void *ctx, uint64_t done, uint64_t total, struct RecastBytes what);
};

/* recast.host.cancel/1 */
struct RecastHostCancelV1 {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*is_cancelled)(void *ctx);
};

/* recast.host.threads/1 */
struct RecastHostThreadsV1 {
    uint32_t struct_size;
    uint32_t reserved;
    uint32_t (*budget)(void *ctx);
};

#ifdef __cplusplus
}
#endif
#endif
