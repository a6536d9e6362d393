namespace YaPO.Llama.Tests.Native;

/// <summary>
/// Native cases on <see cref="PublishedVulkan"/>: libyapo-stock on the package's own llama.cpp, whose residual stream lies on the device; with the package's backend as
/// a plug-in, the Device_ cases of our graph and the gradients of the blocks above it.
/// </summary>
public sealed class PublishedVulkanTests
{
    /// <summary>Of the cases that only these tests run.</summary>
    internal const string Prefix = "PublishedVulkan_";

    public static TheoryData<string> StockCases() => Cases(Prefix);

    public static TheoryData<string> DeviceCases() => Cases("Device_");

    [VulkanTheory]
    [MemberData(nameof(StockCases))]
    public void Stock(string name) => NativeTests.RunCase(name, PublishedVulkan.Environment);

    [VulkanTheory]
    [MemberData(nameof(DeviceCases))]
    public void InGraph(string name) =>
        NativeTests.RunCase(name, PublishedVulkan.Environment).Should().Contain($"also on {PublishedVulkan.Device}", "else nothing ran there");

    [VulkanTheory]
    [InlineData("TrainUpper_Device_Gradient_AgreesWithFiniteDifferences")]
    [InlineData("TrainUpper_Device_Architectures_AgreeWithTheFusedWorker")]
    public void Gradients(string name) =>
        NativeTests.RunCase(name, new Dictionary<string, string>(PublishedVulkan.Environment) { ["YAPO_TEST_DEVICE"] = PublishedVulkan.Device });

    private static TheoryData<string> Cases(string prefix) => [.. NativeTests.List().Where(name => name.StartsWith(prefix, StringComparison.Ordinal))];
}
