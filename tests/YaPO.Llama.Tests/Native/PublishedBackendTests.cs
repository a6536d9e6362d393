namespace YaPO.Llama.Tests.Native;

/// <summary>
/// Native cases on each <see cref="PublishedBackend"/>: libyapo-stock on the package's own llama.cpp, whose residual stream lies on the device; with the package's backend as
/// a plug-in, the Device_ cases of our graph and the gradients of the blocks above it; on CUDA what only there exists, captured graphs,
/// and the emulated runtime that all of CUDA's run on.
/// </summary>
public sealed class PublishedBackendTests
{
    /// <summary>Of the cases that only these tests run.</summary>
    internal const string Vulkan = "PublishedVulkan_", Cuda = "PublishedCuda_", CudaGraphs = "CudaGraphs_", CudaRuntime = "CudaRuntime_";

    public static TheoryData<string> VulkanCases() => Cases(Vulkan);

    public static TheoryData<string> CudaCases() => Cases(Cuda);

    public static TheoryData<string> CudaGraphsCases() => Cases(CudaGraphs);

    public static TheoryData<string> CudaRuntimeCases() => Cases(CudaRuntime);

    public static TheoryData<string> DeviceCases() => Cases("Device_");

    [VulkanTheory]
    [MemberData(nameof(VulkanCases))]
    public void Vulkan_Stock(string name) => NativeTests.RunCase(name, PublishedBackend.Vulkan.Environment);

    [CudaTheory]
    [MemberData(nameof(CudaCases))]
    public void Cuda_Stock(string name) => NativeTests.RunCase(name, PublishedBackend.Cuda.Environment);

    [CudaTheory]
    [MemberData(nameof(CudaGraphsCases))]
    public void Cuda_Graphs(string name) =>
        NativeTests.RunCase(name, PublishedBackend.Cuda.Environment).Should().Contain("counted:", "else what crosses to the device was not looked at");

    [CudaTheory]
    [MemberData(nameof(CudaRuntimeCases))]
    public void Cuda_EmulatedRuntime(string name) => NativeTests.RunCase(name, PublishedBackend.Cuda.Environment);

    [VulkanTheory]
    [MemberData(nameof(DeviceCases))]
    public void Vulkan_InGraph(string name) => InGraph(PublishedBackend.Vulkan, name);

    [CudaTheory]
    [MemberData(nameof(DeviceCases))]
    public void Cuda_InGraph(string name) => InGraph(PublishedBackend.Cuda, name);

    [VulkanTheory]
    [InlineData("TrainUpper_Device_Gradient_AgreesWithFiniteDifferences")]
    [InlineData("TrainUpper_Device_Architectures_AgreeWithTheFusedWorker")]
    public void Vulkan_Gradients(string name) => Gradients(PublishedBackend.Vulkan, name);

    [CudaTheory]
    [InlineData("TrainUpper_Device_Gradient_AgreesWithFiniteDifferences")]
    [InlineData("TrainUpper_Device_Architectures_AgreeWithTheFusedWorker")]
    public void Cuda_Gradients(string name) => Gradients(PublishedBackend.Cuda, name);

    private static void InGraph(PublishedBackend backend, string name) =>
        NativeTests.RunCase(name, backend.Environment).Should().Contain($"also on {backend.Device}", "else nothing ran there");

    private static void Gradients(PublishedBackend backend, string name) =>
        NativeTests.RunCase(name, new Dictionary<string, string>(backend.Environment) { ["YAPO_TEST_DEVICE"] = backend.Device });

    private static TheoryData<string> Cases(string prefix) => [.. NativeTests.List().Where(name => name.StartsWith(prefix, StringComparison.Ordinal))];
}
