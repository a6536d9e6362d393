// Included before ggml-vulkan.cpp: what llama.cpp names of Vulkan unconditionally and headers before 1.3.272 (Debian 12, Ubuntu 22.04)
// lack. It is the extension that configures validation layers, which llama.cpp only asks for in builds with GGML_VULKAN_VALIDATE; in
// every other build the structure is handed over empty of meaning and no driver reads it. Layouts as in the Vulkan specification.
#pragma once

#include <vulkan/vulkan_core.h>

#if !defined(VK_EXT_layer_settings)
#include <cstdint>
#include <vector>

namespace vk {

enum class LayerSettingTypeEXT : int32_t { eBool32 = 0 };

struct LayerSettingEXT {
    const char *        layer;
    const char *        setting;
    LayerSettingTypeEXT type;
    uint32_t            count;
    const void *        values;
};

struct LayerSettingsCreateInfoEXT {
    int32_t                 type = 1000496000; // VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT
    const void *            next = nullptr;
    uint32_t                count;
    const LayerSettingEXT * settings;

    explicit LayerSettingsCreateInfoEXT(const std::vector<LayerSettingEXT> & all) : count(uint32_t(all.size())), settings(all.data()) {}
};

} // namespace vk
#endif
