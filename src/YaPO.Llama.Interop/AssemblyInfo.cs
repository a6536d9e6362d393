using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

// Everything that crosses is blittable: what the compiler lays out is what C sees, with no marshaller guessing in between.
[assembly: DisableRuntimeMarshalling]
[assembly: DefaultDllImportSearchPaths(DllImportSearchPath.AssemblyDirectory | DllImportSearchPath.SafeDirectories)]
