// llama.cpp's template runtime, unchanged, compiled with the hooks of engine.h.
#include "model/template/engine.h"

#include "jinja/runtime.cpp"
