#include "api.h"

namespace cuda_emulator {
namespace {

struct entry {
    int          status;
    const char * name;
    const char * text;
};

constexpr entry entries[] = {
    {success, "cudaSuccess", "no error"},
    {invalid_value, "cudaErrorInvalidValue", "invalid argument"},
    {out_of_memory, "cudaErrorMemoryAllocation", "out of memory"},
    {invalid_configuration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {invalid_pitch, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {invalid_memcpy_direction, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {missing_configuration, "cudaErrorMissingConfiguration", "missing launch configuration"},
    {invalid_device_function, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {invalid_device, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {no_kernel_image, "cudaErrorNoKernelImageForDevice", "no kernel image is available for execution on the device"},
    {peer_access_unsupported, "cudaErrorPeerAccessUnsupported", "peer access is not supported between these two devices"},
    {invalid_ptx, "cudaErrorInvalidPtx", "invalid PTX"},
    {invalid_handle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {illegal_state, "cudaErrorIllegalState", "not permitted in the state of the stream"},
    {not_ready, "cudaErrorNotReady", "device not ready"},
    {illegal_address, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {launch_out_of_resources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {host_memory_registered, "cudaErrorHostMemoryAlreadyRegistered", "part or all of the memory is already registered"},
    {host_memory_not_registered, "cudaErrorHostMemoryNotRegistered", "the memory is not registered"},
    {not_supported, "cudaErrorNotSupported", "operation not supported"},
    {capture_unsupported, "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {capture_invalidated, "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    {capture_merge, "cudaErrorStreamCaptureMerge", "operation would result in a merge of separate captures"},
    {capture_unmatched, "cudaErrorStreamCaptureUnmatched", "the capture did not begin in this stream"},
    {capture_unjoined, "cudaErrorStreamCaptureUnjoined", "the capture has work that was not joined to the stream it began in"},
    {capture_isolation, "cudaErrorStreamCaptureIsolation", "a dependency would cross from work outside into the capture"},
    {capture_implicit, "cudaErrorStreamCaptureImplicit", "an implicit dependency of the legacy default stream on a capture"},
    {captured_event, "cudaErrorCapturedEvent", "operation not permitted on an event last recorded in a capturing stream"},
    {capture_wrong_thread, "cudaErrorStreamCaptureWrongThread", "the capture began in another thread"},
    {graph_update_failure, "cudaErrorGraphExecUpdateFailure", "the graph update was not performed"},
    {unknown_error, "cudaErrorUnknown", "unknown error"},
};

} // namespace

const char * describe(int status) {
    for (const entry & e : entries) {
        if (e.status == status) {
            return e.text;
        }
    }
    return "unrecognized error code";
}

const char * name_of(int status) {
    for (const entry & e : entries) {
        if (e.status == status) {
            return e.name;
        }
    }
    return "unrecognized error code";
}

} // namespace cuda_emulator
