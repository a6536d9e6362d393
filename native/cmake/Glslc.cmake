# llama.cpp compiles two shaders of ggml-vulkan that need GL_KHR_cooperative_matrix whether the shader compiler knows it or not. Better told here than after
# a quarter of an hour of building: stops with what was found and what to do. SOURCE: the llama.cpp tree.
function(yapo_require_glslc SOURCE)
    find_program(Vulkan_GLSLC_EXECUTABLE glslc HINTS "$ENV{VULKAN_SDK}/bin" "$ENV{VULKAN_SDK}/Bin")
    if(NOT Vulkan_GLSLC_EXECUTABLE)
        message(FATAL_ERROR "Building for Vulkan needs the shader compiler glslc, which was not found. Install Debian's or Ubuntu's package glslc, or the Vulkan SDK; or name one: -DVulkan_GLSLC_EXECUTABLE=FILE.")
    endif()
    execute_process(
        COMMAND "${Vulkan_GLSLC_EXECUTABLE}" -o - -fshader-stage=compute --target-env=vulkan1.3 "${SOURCE}/ggml/src/ggml-vulkan/vulkan-shaders/feature-tests/coopmat.comp"
        RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE said)
    if(NOT status EQUAL 0)
        execute_process(COMMAND "${Vulkan_GLSLC_EXECUTABLE}" --version OUTPUT_VARIABLE version ERROR_VARIABLE version)
        string(REGEX MATCH "[^\n]*" version "${version}")
        message(FATAL_ERROR "${Vulkan_GLSLC_EXECUTABLE} (${version}) does not compile GL_KHR_cooperative_matrix, which llama.cpp's Vulkan shaders need: ${said}"
            "Debian 13's glslc (shaderc 2025.2) does, Debian 12's (2023.2) does not: put a newer one first in PATH or name it with -DVulkan_GLSLC_EXECUTABLE=FILE, "
            "or build nothing and set GGML_BACKEND_PATH to a published ggml-vulkan (docs/devices.md).")
    endif()
endfunction()
