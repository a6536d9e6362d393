// Errors, strings, versions: the part of yapo.h that belongs to no object.
#include "abi/guard.h"

#include <cstdlib>

extern "C" {

yapo_status  yapo_error_status (const yapo_error * err) { return err ? err->status : YAPO_OK; }
const char * yapo_error_message(const yapo_error * err) { return err ? err->message.c_str() : ""; }
void         yapo_error_free   (yapo_error * err)       { delete err; }
void         yapo_string_free  (char * s)               { free(s); }
uint32_t     yapo_abi_version(void)                     { return YAPO_ABI_VERSION; }
int64_t      yapo_live_handles(void)                    { return yapo::counted::live.load(); }

} // extern "C"
