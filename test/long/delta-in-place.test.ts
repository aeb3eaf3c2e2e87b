/** The in-place tests with a power cut at every write of every pair. */
process.env["OTAFORGE_LONG"] = "1";
await import("../../src/delta/in-place.test.ts");
