import { describe, expect, it } from "vitest";
import { memoryReader } from "../core/streams.ts";
import { vectorDisk, vectorJson, vectorNames } from "../../test/support/k230-vectors.ts";
import { explainBoot } from "./explain-boot.ts";
import type { BootReport, Medium } from "./explain-boot.ts";
import { nodeFirmwareCrypto } from "./firmware.node.ts";

interface Input {
  otpFirmwareVersion: number;
  otpNoneSecurityDisabled: boolean;
  bootMedium: Medium;
  dramBase: string;
  dramSize: string;
}

describe("explainBoot decides as the vendor's loader", () => {
  it.each(vectorNames("boot-"))("%s", async (name) => {
    const input = vectorJson<Input>(name, "input.json");
    const { vendor } = vectorJson<{ vendor: BootReport }>(name, "expected.json");
    const report = await explainBoot(memoryReader(vectorDisk(name)), {
      crypto: nodeFirmwareCrypto,
      medium: input.bootMedium,
      dramBase: Number(input.dramBase),
      dramSize: Number(input.dramSize),
      trust: { versionFloor: input.otpFirmwareVersion, requireEncryption: input.otpNoneSecurityDisabled },
    });
    const { steps, meta: _meta, ...decision } = report;
    expect(decision).toEqual(vendor);
    expect(steps.length).toBeGreaterThan(0);
  });
});
