/** `k230-boot DISK`: what the loader would do with a medium, and why. */
import { resolve } from "node:path";
import { Option } from "commander";
import { openFileReader } from "../../device/file-reader.ts";
import { explainBoot, type BootReport, type Medium } from "../../k230/index.ts";
import { nodeFirmwareCrypto } from "../../k230/firmware.node.ts";
import { newCommand } from "../command.ts";
import type { Io } from "../io.ts";
import { readTrust, withTrustOptions, type TrustValues } from "../k230-firmware.ts";
import { MEDIA } from "../k230-card.ts";
import { wholeNumber } from "../options.ts";
import { PACKAGE_VERSION } from "../version.ts";

interface Values extends TrustValues {
  json?: boolean;
  medium: Medium;
  otpVersion: number;
  requireEncryption?: boolean;
  dramBase: number;
  dramSize: number;
  readsMeta?: boolean;
  check?: boolean;
}

function bootText({ status, steps, booted, finalSlot }: BootReport): string {
  const verdict =
    status === "boots"
      ? `boots slot ${finalSlot ?? "?"}: ${booted.map((b) => `${b.entry} on core ${b.core}`).join(", ")}`
      : status === "refuses"
        ? "does not boot: the loader gives up"
        : "does not boot: the loader waits for ever";
  return [...steps, verdict].join("\n");
}

export async function k230BootMain(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const program = withTrustOptions(newCommand("k230-boot", io))
    .description("Says what the K230's loader would do with a card, eMMC or flash image, step by step.")
    .version(PACKAGE_VERSION, "-V, --version")
    .argument("<disk>", "image of the whole medium, or its node")
    .option("--json", "print JSON on standard output and nothing else there")
    .addOption(new Option("--medium <medium>", "what the medium is").choices(MEDIA).default("sdcard"))
    .option("--otp-version <n>", "lowest firmware version the device accepts", wholeNumber, 0)
    .option("--require-encryption", "the device refuses firmware without encryption")
    .option("--dram-base <address>", "first byte of the DRAM", wholeNumber, 0)
    .option("--dram-size <bytes>", "size of the DRAM", wholeNumber, 0x20000000)
    .option("--reads-meta", "the loader reads ota_meta on this medium, whatever the stock one does")
    .option("--check", "exit 5 unless the medium boots")
    .action(async (disk: string, values: Values) => {
      const trust = await readTrust(values, io);
      const reader = await openFileReader(resolve(io.cwd, disk));
      try {
        const report = await explainBoot(reader, {
          crypto: nodeFirmwareCrypto,
          medium: values.medium,
          ...(values.readsMeta === true ? { readsMeta: true } : {}),
          dramBase: values.dramBase,
          dramSize: values.dramSize,
          trust: { ...trust, versionFloor: values.otpVersion, requireEncryption: values.requireEncryption === true },
        });
        io.out(values.json === true ? `${JSON.stringify(report, null, 2)}\n` : `${bootText(report)}\n`);
        exitCode = values.check === true && report.status !== "boots" ? 5 : 0;
      } finally {
        await reader.close();
      }
    });
  await program.parseAsync([...argv], { from: "user" });
  return exitCode;
}
