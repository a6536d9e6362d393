using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.Cli;

public class VulkanDriversTests
{
    private static readonly DeviceInfo Cpu = new("CPU", "some processor", "cpu", 1, 2);

    [Fact]
    public void Find_DriverForTheProcessor_IsSaidToBeOne()
    {
        var remark = VulkanDrivers.Find(true, [Cpu, new DeviceInfo("Vulkan0", "llvmpipe (LLVM 15.0.6, 256 bits)", "gpu", 1, 2)]).Should().ContainSingle().Subject;
        remark.Subject.Should().Be("Vulkan0");
        remark.Detail.Should().Contain("software driver (llvmpipe (LLVM 15.0.6, 256 bits))").And.Contain("--device cpu");
    }

    [Fact]
    public void Find_NoVulkanDevice_NamesTheSwitch() =>
        VulkanDrivers.Find(true, [Cpu]).Should().ContainSingle().Which.Detail.Should().Contain("GGML_VK_VISIBLE_DEVICES=0");

    [Fact]
    public void Find_GpuOrNoVulkanInTheBuild_SaysNothing()
    {
        VulkanDrivers.Find(true, [Cpu, new DeviceInfo("Vulkan0", "NVIDIA something", "gpu", 1, 2)]).Should().BeEmpty();
        VulkanDrivers.Find(false, [Cpu]).Should().BeEmpty();
        VulkanDrivers.Find(null, [Cpu]).Should().BeEmpty();
    }
}
