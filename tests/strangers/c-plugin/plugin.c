/* A target in C: writes its one tensor as it is. Built with
 *     cc -std=c11 -shared -fPIC -I.../plugin-api/include plugin.c -o libcplugin.so
 */
#include "recast_plugin.h"

#include <string.h>

_Static_assert(sizeof(struct RecastBytes) == 16, "RecastBytes");
_Static_assert(sizeof(struct RecastTensorView) == 40, "RecastTensorView");
_Static_assert(sizeof(struct RecastHost) == 40, "RecastHost");
_Static_assert(sizeof(struct RecastEntry) == 40, "RecastEntry");
_Static_assert(sizeof(struct RecastSourceV1) == 32, "RecastSourceV1");
_Static_assert(sizeof(struct RecastTargetV1) == 24, "RecastTargetV1");
_Static_assert(sizeof(struct RecastLayersV1) == 40, "RecastLayersV1");

#ifndef ABI
#define ABI "1"
#endif

__attribute__((section(".recast_manifest"), used)) static const char manifest_text[] =
    "{\"schema\":1,\"id\":\"test.c\",\"name\":\"C\",\"version\":\"1.0.0\",\"abi_major\":" ABI ","
    "\"needs\":[\"recast.host.tensor/1\",\"recast.host.output/1\"],"
    "\"provides\":[{\"extension\":\"recast.target/1\",\"targets\":[\"ctext\"]}]}";

static struct RecastBytes bytes(const char *text) {
    struct RecastBytes b = {(const uint8_t *)text, strlen(text)};
    return b;
}

static struct RecastBytes manifest(void) { return bytes(manifest_text); }

static int32_t init(const struct RecastHost *host) {
    host->log(host->ctx, RECAST_LEVEL_INFO, bytes("c"), bytes("hello from C"));
    return RECAST_OK;
}

/* CapsList { caps: [Caps { target: "ctext" }] } */
static int32_t capabilities(const struct RecastHost *host) {
    return host->emit(host->ctx, RECAST_STREAM_RESULT, bytes("\x0a\x07\x12\x05" "ctext"));
}

static int32_t write(const struct RecastHost *host, struct RecastBytes target, struct RecastBytes request) {
    const struct RecastHostOutputV1 *output = host->get_extension(host->ctx, bytes(RECAST_HOST_OUTPUT));
    const struct RecastHostTensorV1 *tensor = host->get_extension(host->ctx, bytes(RECAST_HOST_TENSOR));
    struct RecastTensorView view;
    int32_t stream, code;
    (void)target;
    (void)request;
    if (!output || !tensor)
        return RECAST_UNSUPPORTED;
    if ((code = tensor->get(host->ctx, bytes("dense/kernel"), &view)) != RECAST_OK)
        return code;
    if (view.dtype != RECAST_F32 || view.rank != 2 || view.dims[0] != 2)
        return RECAST_BAD_INPUT;
    if ((stream = output->open(host->ctx, bytes("model.ctext"))) < 0)
        return stream;
    if ((code = host->emit(host->ctx, (uint32_t)stream, bytes("kernel:"))) != RECAST_OK)
        return code;
    code = host->emit(host->ctx, (uint32_t)stream, view.data);
    tensor->done(host->ctx, &view);
    output->close(host->ctx, (uint32_t)stream);
    return code;
}

static const struct RecastTargetV1 target_table = {sizeof(struct RecastTargetV1), 0, capabilities, write};

static const void *get_extension(struct RecastBytes id) {
    if (id.len == strlen(RECAST_TARGET) && memcmp(id.ptr, RECAST_TARGET, id.len) == 0)
        return &target_table;
    return NULL;
}

const struct RecastEntry recast_plugin_entry_v1 = {
    RECAST_MAGIC, sizeof(struct RecastEntry), RECAST_ABI_MAJOR, manifest, init, get_extension,
};
