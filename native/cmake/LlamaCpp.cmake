# Obtains the pinned llama.cpp, checks that it is the tree we know, and applies our one patch; where ggml-cuda is built, its own
# small one too.
#
# Ways in, first match wins:
#   1. -DYAPO_LLAMA_CPP_DIR=<checkout>   a git checkout whose HEAD has YAPO_LLAMA_CPP_TREE
#   2. the cache directory               filled by an earlier build
#   3. npm pack node-llama-cpp@<pin>     the package carries llama.cpp as a git bundle for building from source
#
# The patched tree lives in the cache under a name made of the tree hash and the patch hash, so two checkouts of
# this project with the same patch share it, and a changed patch never meets a half-patched tree.

set(YAPO_LLAMA_CPP_VERSION "v0.5.0")
set(YAPO_LLAMA_CPP_TREE "fd570ef54b10ec5fecb739e7e04c8ce44a6f415a")
set(YAPO_LLAMA_CPP_NPM "node-llama-cpp@3.22.1")
set(YAPO_LLAMA_CPP_DIR "" CACHE PATH "git checkout of llama.cpp ${YAPO_LLAMA_CPP_VERSION}; empty: obtain it through npm")

if(DEFINED ENV{YAPO_CACHE_DIR})
    set(_yapo_cache_default "$ENV{YAPO_CACHE_DIR}")
elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(_yapo_cache_default "$ENV{XDG_CACHE_HOME}/yapo-llama")
elseif(WIN32)
    set(_yapo_cache_default "$ENV{LOCALAPPDATA}/yapo-llama/cache")
else()
    set(_yapo_cache_default "$ENV{HOME}/.cache/yapo-llama")
endif()
set(YAPO_CACHE_DIR "${_yapo_cache_default}" CACHE PATH "where the pinned llama.cpp source is kept between builds")

find_package(Git REQUIRED)

function(_yapo_run what)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE rc OUTPUT_VARIABLE out ERROR_VARIABLE err)
    if(NOT rc EQUAL 0)
        message(FATAL_ERROR "${what} failed (exit ${rc}).\n${out}${err}")
    endif()
endfunction()

function(_yapo_check_tree dir)
    execute_process(COMMAND ${GIT_EXECUTABLE} -C "${dir}" rev-parse "HEAD^{tree}"
        OUTPUT_VARIABLE tree OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_VARIABLE err RESULT_VARIABLE rc)
    if(NOT rc EQUAL 0 OR NOT tree STREQUAL YAPO_LLAMA_CPP_TREE)
        message(FATAL_ERROR "llama.cpp in ${dir}: expected tree ${YAPO_LLAMA_CPP_TREE} (${YAPO_LLAMA_CPP_VERSION}), found '${tree}'. ${err}\n"
            "Point YAPO_LLAMA_CPP_DIR at a checkout of exactly ${YAPO_LLAMA_CPP_VERSION}, or leave it empty.")
    endif()
endfunction()

# The pristine checkout: a directory whose HEAD is the pinned tree.
function(yapo_obtain_pristine out_dir)
    if(YAPO_LLAMA_CPP_DIR)
        _yapo_check_tree("${YAPO_LLAMA_CPP_DIR}")
        set(${out_dir} "${YAPO_LLAMA_CPP_DIR}" PARENT_SCOPE)
        return()
    endif()

    set(pristine "${YAPO_CACHE_DIR}/llama.cpp-${YAPO_LLAMA_CPP_VERSION}")
    if(NOT EXISTS "${pristine}/.git")
        find_program(YAPO_NPM NAMES npm npm.cmd)
        if(NOT YAPO_NPM)
            message(FATAL_ERROR "npm was not found. Install Node.js, or pass -DYAPO_LLAMA_CPP_DIR=<checkout of llama.cpp ${YAPO_LLAMA_CPP_VERSION}>.")
        endif()
        message(STATUS "yapo: fetching llama.cpp ${YAPO_LLAMA_CPP_VERSION} (npm package ${YAPO_LLAMA_CPP_NPM}, 36 MB)")
        string(RANDOM LENGTH 8 token)
        set(work "${YAPO_CACHE_DIR}/fetch-${token}")
        file(MAKE_DIRECTORY "${work}")
        _yapo_run("npm pack ${YAPO_LLAMA_CPP_NPM}" ${CMAKE_COMMAND} -E chdir "${work}" "${YAPO_NPM}" pack --silent ${YAPO_LLAMA_CPP_NPM})
        file(GLOB tarball "${work}/*.tgz")
        _yapo_run("unpacking ${tarball}" ${CMAKE_COMMAND} -E chdir "${work}" ${CMAKE_COMMAND} -E tar xzf "${tarball}" package/llama/gitRelease.bundle)
        _yapo_run("git clone of the bundle" ${GIT_EXECUTABLE} -c advice.detachedHead=false clone --quiet "${work}/package/llama/gitRelease.bundle" "${work}/tree")
        _yapo_check_tree("${work}/tree")
        file(RENAME "${work}/tree" "${pristine}")
        file(REMOVE_RECURSE "${work}")
    endif()
    _yapo_check_tree("${pristine}")
    set(${out_dir} "${pristine}" PARENT_SCOPE)
endfunction()

# The pristine tree with every patch of native/patches applied, and for GGML_CUDA those of native/patches/cuda, in the cache.
function(yapo_obtain_llama_cpp out_dir)
    file(GLOB patches "${PROJECT_SOURCE_DIR}/native/patches/*.patch")
    list(SORT patches)
    if(GGML_CUDA)
        file(GLOB cuda_patches "${PROJECT_SOURCE_DIR}/native/patches/cuda/*.patch")
        list(SORT cuda_patches)
        list(APPEND patches ${cuda_patches})
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${patches})
    set(all "")
    foreach(patch IN LISTS patches)
        file(SHA256 "${patch}" hash)
        string(APPEND all "${hash}")
    endforeach()
    string(SHA256 key "${all}")
    string(SUBSTRING "${key}" 0 12 key)

    set(patched "${YAPO_CACHE_DIR}/llama.cpp-${YAPO_LLAMA_CPP_VERSION}-yapo-${key}")
    if(NOT EXISTS "${patched}/.yapo-patched")
        yapo_obtain_pristine(pristine)
        message(STATUS "yapo: patching llama.cpp into ${patched}")
        string(RANDOM LENGTH 8 token)
        set(work "${patched}.tmp-${token}")
        _yapo_run("git clone" ${GIT_EXECUTABLE} -c advice.detachedHead=false clone --quiet "${pristine}" "${work}")
        foreach(patch IN LISTS patches)
            _yapo_run("applying ${patch}" ${GIT_EXECUTABLE} -C "${work}" apply --whitespace=nowarn "${patch}")
        endforeach()
        file(WRITE "${work}/.yapo-patched" "${all}\n")
        if(EXISTS "${patched}/.yapo-patched")   # another build won the race
            file(REMOVE_RECURSE "${work}")
        else()
            file(RENAME "${work}" "${patched}")
        endif()
    endif()
    set(${out_dir} "${patched}" PARENT_SCOPE)
endfunction()
