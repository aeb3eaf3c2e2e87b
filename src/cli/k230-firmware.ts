/** Firmware of the K230 on the command line: what the device has burnt in, and `kdimg firmware show|make`. */
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { fromHex, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { deviceError } from "../device/system-errors.ts";
import { encodeFirmware, verifyFirmware, type FirmwareReport, type FirmwareTrust } from "../k230/index.ts";
import { nodeFirmwareCrypto } from "../k230/firmware.node.ts";
import { newCommand } from "./command.ts";
import type { Io } from "./io.ts";
import { printReport, wholeNumber, type SharedValues } from "./options.ts";
import { writeBeside } from "./write-beside.ts";

/** What the options of {@link withTrustOptions} give. */
export interface TrustValues {
  rsaKeyHash?: string;
  sm2KeyHash?: string;
  aesKey?: string;
  sm4Key?: string;
}

/** Adds the options for what a device has burnt in. Secret keys come from files, never from the command line itself. */
export function withTrustOptions(command: Command): Command {
  return command
    .option("--rsa-key-hash <hex>", "SHA-256 of the RSA key (OTP slot 8), for firmware of type 2")
    .option("--aes-key <file>", "AES-256 key (OTP slot 3): 32 bytes, raw or in hex digits")
    .option("--sm2-key-hash <hex>", "SM3 of the SM2 key (OTP slot 9), for firmware of type 1")
    .option("--sm4-key <file>", "SM4 key (OTP slot 5): 16 bytes, raw or in hex digits");
}

function hash(text: string | undefined, option: string): Uint8Array | undefined {
  if (text === undefined) return undefined;
  if (/^[0-9a-fA-F]{64}$/.test(text)) return fromHex(text);
  throw new OtaError("USAGE", { what: `${option} needs 64 hex digits`, found: `${text.length} characters` });
}

async function key(file: string | undefined, size: number, io: Io): Promise<Uint8Array | undefined> {
  if (file === undefined) return undefined;
  const path = resolve(io.cwd, file);
  const bytes = await readFile(path).catch((e: unknown) => {
    throw deviceError(e, path);
  });
  if (bytes.length === size) return new Uint8Array(bytes);
  const text = bytes.toString("latin1").trim();
  if (/^[0-9a-fA-F]+$/.test(text) && text.length === 2 * size) return fromHex(text);
  throw new OtaError("USAGE", { what: `the key is not ${size} bytes, raw or in hex digits`, where: file });
}

/** @throws OtaError USAGE, DEVICE_* */
export async function readTrust(values: TrustValues, io: Io): Promise<FirmwareTrust> {
  const rsaKeyHash = hash(values.rsaKeyHash, "--rsa-key-hash");
  const sm2KeyHash = hash(values.sm2KeyHash, "--sm2-key-hash");
  const aesKey = await key(values.aesKey, 32, io);
  const sm4Key = await key(values.sm4Key, 16, io);
  return {
    ...(rsaKeyHash === undefined ? {} : { rsaKeyHash }),
    ...(sm2KeyHash === undefined ? {} : { sm2KeyHash }),
    ...(aesKey === undefined ? {} : { aesKey }),
    ...(sm4Key === undefined ? {} : { sm4Key }),
  };
}

interface ShowValues extends SharedValues, TrustValues {
  firstStage?: boolean;
  requireEncryption?: boolean;
  otpVersion: number;
}

const TYPES = ["none, SHA-256 only", "SM4-CBC and SM2", "AES-256-GCM and RSA-2048"];

function firmwareText(report: FirmwareReport): string {
  const { cryptoType, length, ok, version, keyHash, problem, unchecked } = report;
  return [
    `crypto type ${cryptoType}: ${TYPES[cryptoType] ?? "unknown"}`,
    `payload     ${length} bytes`,
    ...(version === undefined ? [] : [`version     ${version}`]),
    ...(keyHash === undefined ? [] : [`key hash    ${keyHash}`]),
    ...unchecked.map((what) => `not checked ${what}`),
    ok ? "everything that was checked fits" : (problem?.message ?? "damaged"),
  ].join("\n");
}

async function show(name: string, values: ShowValues, io: Io): Promise<number> {
  const path = resolve(io.cwd, name);
  const bytes = await readFile(path).catch((e: unknown) => {
    throw deviceError(e, path);
  });
  const report = verifyFirmware(bytes, nodeFirmwareCrypto, {
    ...(await readTrust(values, io)),
    versionFloor: values.otpVersion,
    requireEncryption: values.requireEncryption === true,
    firstStage: values.firstStage === true,
  });
  const { cryptoType, length, ok, complete, unchecked, keyHash, version, problem, image } = report;
  const json = {
    cryptoType,
    payloadLength: length,
    ok,
    complete,
    unchecked,
    ...(keyHash === undefined ? {} : { keyHash }),
    ...(version === undefined ? {} : { version }),
    ...(image === undefined ? {} : { imageSize: image.length, imageSha256: toHex(nodeFirmwareCrypto.sha256(image)) }),
    ...(problem === undefined ? {} : { problem: problem.toJSON() }),
  };
  return printReport({ text: firmwareText(report), json, exitCode: problem?.exitCode ?? 0 }, values, io);
}

/** `kdimg firmware`. */
export function buildFirmware(io: Io, done: (exitCode: number) => void): Command {
  const command = newCommand("firmware", io).description(
    "Shows, checks and makes the firmware inside rtt, rtapp, uboot.",
  );
  command.addCommand(
    withTrustOptions(newCommand("show", io))
      .description(
        "Checks a firmware as the device does, as far as keys are given. Exit 3 damaged, 4 not trusted, 5 too old.",
      )
      .argument("<file>", "firmware, as `kdimg extract` writes it")
      .option("--otp-version <n>", "lowest version the device accepts", wholeNumber, 0)
      .option("--require-encryption", "the device refuses firmware without encryption")
      .option("--first-stage", "spl, checked by the boot ROM: its IV is fixed and not stored")
      .option("--json", "print JSON on standard output and nothing else there")
      .action(async (name: string, values: ShowValues) => done(await show(name, values, io))),
  );
  command.addCommand(
    newCommand("make", io)
      .description("Puts the header of type 0 (SHA-256, no encryption) in front of an image.")
      .argument("<image>", "U-Boot image")
      .argument("<file>", "firmware to write; an existing one is replaced")
      .option("--firmware-version <n>", "version word", wholeNumber, 0)
      .action(async (name: string, output: string, values: { firmwareVersion: number }) => {
        const path = resolve(io.cwd, name);
        const image = await readFile(path).catch((e: unknown) => {
          throw deviceError(e, path);
        });
        const firmware = encodeFirmware(image, values.firmwareVersion, nodeFirmwareCrypto.sha256);
        await writeBeside(resolve(io.cwd, output), (temporary) => writeFile(temporary, firmware, { flag: "wx" }));
        done(0);
      }),
  );
  return command;
}
