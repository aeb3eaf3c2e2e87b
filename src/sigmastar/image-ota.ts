/**
 * The `make image-ota` flow (specification section 6): questions, packer calls and environment scripts for the images of a
 * partition configuration. What it does is given out as packer calls, so that it is exactly what the packer does.
 */
import { OtaError } from "../core/errors.ts";
import { encodeText, printable } from "../core/text.ts";
import type { Generation } from "./layout.ts";
import type { PartitionConfig } from "./partition-config.ts";

/** Flows differ as the published makefiles do; v0.3 had script records and takes the flow of v0.4. */
type Flow = "v0.2" | "v0.4" | "v1.6";

const flowOf = (generation: Generation): Flow => (generation === "v0.3" ? "v0.4" : generation);

export interface FlowPorts {
  /** Prints a prompt and reads one line; the end of the input is an empty answer. */
  ask(prompt: string): Promise<string>;
  /** Runs one packer call. */
  pack(call: readonly string[]): Promise<void>;
  /** Size of an image; undefined when it does not exist. */
  fileSize(path: string): Promise<number | undefined>;
  /** Writes an environment script, mode 0644 whatever the umask. */
  writeScript(path: string, content: Uint8Array): Promise<void>;
}

export interface FlowOptions {
  readonly generation: Generation;
  /** Folder of the images, as it is written in front of their names. */
  readonly imageFolder: string;
  /** Images to pack, without questions. `"all"`: every image. Absent: each is asked for. */
  readonly select?: readonly string[] | "all";
  /** Given: not asked for. `""`: none. */
  readonly beginScript?: string;
  readonly endScript?: string;
}

/** One image and what the rules say of it. */
export interface ImageRule {
  readonly image: string;
  /** Source file, relative to the image folder. */
  readonly file: string;
  readonly operation: "--block-update" | "--ubi-update" | "--file-update";
}

const FLASH_FILES: Readonly<Record<string, { spinand: string; sdmmc: string }>> = {
  ipl: { spinand: "ipl_s.bin", sdmmc: "boot/IPL" },
  ipl_cust: { spinand: "ipl_cust_s.bin", sdmmc: "boot/IPL_CUST" },
  uboot: { spinand: "uboot_s.bin", sdmmc: "boot/UBOOT" },
};
const RAW_FILES: Readonly<Record<string, string>> = { boot: "boot.bin", logo: "logo", kernel: "kernel" };

const FILE_SYSTEMS: Readonly<Record<string, { suffix: string; flows: readonly Flow[] }>> = {
  squashfs: { suffix: "sqfs", flows: ["v0.2", "v0.4", "v1.6"] },
  jffs2: { suffix: "jffs2", flows: ["v0.2", "v0.4", "v1.6"] },
  ubifs: { suffix: "ubifs", flows: ["v0.2", "v0.4", "v1.6"] },
  lfs: { suffix: "lfs", flows: ["v0.4", "v1.6"] },
  fwfs: { suffix: "fwfs", flows: ["v0.4", "v1.6"] },
  ext4: { suffix: "ext4", flows: ["v0.4", "v1.6"] },
};

/** The rule for an image (section 6.3); undefined when make has none. */
export function imageRule(
  generation: Generation,
  what: { readonly image: string; readonly fileSystem: string; readonly flash: string },
): ImageRule | undefined {
  const { image, fileSystem, flash } = what;
  const flow = flowOf(generation);
  if (fileSystem === "") {
    const loader = Object.hasOwn(FLASH_FILES, image) ? FLASH_FILES[image] : undefined;
    if (loader !== undefined) {
      if (flash === "spinand") return { image, file: loader.spinand, operation: "--block-update" };
      if (flash === "sdmmc" && flow === "v0.4") return { image, file: loader.sdmmc, operation: "--file-update" };
      return undefined;
    }
    const file = Object.hasOwn(RAW_FILES, image) ? RAW_FILES[image] : undefined;
    return file === undefined ? undefined : { image, file, operation: "--block-update" };
  }
  if (fileSystem === "ramfs" && image === "rootfs" && flow !== "v1.6") {
    return { image, file: "rootfs.ramfs", operation: "--block-update" };
  }
  const known = Object.hasOwn(FILE_SYSTEMS, fileSystem) ? FILE_SYSTEMS[fileSystem] : undefined;
  if (known === undefined || !known.flows.includes(flow)) return undefined;
  const operation = fileSystem === "ubifs" ? "--ubi-update" : "--block-update";
  return { image, file: `${image}.${known.suffix}`, operation };
}

const words = (text: string): string[] => text.split(/\s+/).filter((w) => w !== "");

/** Text of a make value that the vendor's makefile puts between double quotes of a shell. */
function quotedValue(text: string, variable: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === "\\" && '$`"\\'.includes(text.charAt(i + 1)) && i + 1 < text.length) out += text.charAt(++i);
    else if (c === "$" || c === "`" || c === '"') {
      throw new OtaError("SIGMASTAR_CONFIG_UNSUPPORTED", {
        what: "the value needs a shell",
        where: `variable ${printable(variable)}`,
        found: printable(text.slice(0, 80)),
        hint: `Set it from outside: --define ${variable}=VALUE.`,
      });
    } else out += c;
  }
  return out;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  a: "\x07",
  b: "\b",
  e: "\x1b",
  f: "\f",
  v: "\v",
  "\\": "\\",
};

/** An environment script (section 6.2): every line of the BLKENV text behind `/etc/fw_setenv `. */
export function environmentScript(blkEnv: string): string {
  const text = blkEnv.replace(/\\(.)/g, (whole, letter: string) => ESCAPES[letter] ?? whole);
  return `${text
    .split("\n")
    .map((line) => `/etc/fw_setenv ${line}`)
    .join("\n")}\n`;
}

export interface FlowResult {
  /** Absent when the list of images is empty: nothing was made. */
  readonly packagePath?: string;
  readonly layoutPath?: string;
  /** Images that were packed. */
  readonly packed: readonly string[];
}

function noRule(image: string, fileSystem: string, flash: string, generation: Generation): OtaError {
  return new OtaError("SIGMASTAR_NO_RULE", {
    what: `the ${generation} flow has no rule for this image`,
    where: printable(image),
    found: `FSTYPE "${printable(fileSystem)}" on FLASH_TYPE "${printable(flash)}"`,
  });
}

function attribute(config: PartitionConfig, image: string, key: string): string {
  return quotedValue(config.attribute(image, key), `${image}_${key.toLowerCase()}`);
}

/**
 * Runs the flow up to the plain package and its layout file; compressing is the caller's.
 *
 * @throws OtaError SIGMASTAR_NO_RULE and unknown selections before anything is asked or made; SIGMASTAR_CONFIG for an image
 *   without size or node; what the ports throw
 */
export async function runImageOta(
  config: PartitionConfig,
  options: FlowOptions,
  ports: FlowPorts,
): Promise<FlowResult> {
  const { generation, imageFolder, select } = options;
  const flow = flowOf(generation);
  const images = [...new Set(words(config.value("OTA_IMAGE_LIST")))];
  const flash = config.value("FLASH_TYPE").trim();
  const unknown = Array.isArray(select) ? select.filter((name) => !images.includes(name as string)) : [];
  if (unknown.length > 0) {
    throw new OtaError("USAGE", {
      what: "an image that is not in OTA_IMAGE_LIST was selected",
      expected: images.join(", ") || "no image",
      found: unknown.map((u) => printable(String(u))).join(", "),
    });
  }
  if (images.length === 0) {
    if (flow !== "v1.6") return { packed: [] };
    throw new OtaError("SIGMASTAR_CONFIG", { what: "OTA_IMAGE_LIST is empty: there is no package to list" });
  }
  const rules = images.map((image) => {
    const fileSystem = config.attribute(image, "FSTYPE").trim();
    const rule = imageRule(generation, { image, fileSystem, flash });
    const wanted = select === undefined || select === "all" || select.includes(image);
    if (rule === undefined && wanted) throw noRule(image, fileSystem, flash, generation);
    return { image, rule, raw: fileSystem === "" };
  });

  const packagePath = `${imageFolder}/SStarOta.bin`;
  const quiet = select !== undefined;
  const begin = options.beginScript ?? (quiet ? "" : (await ports.ask("Start scripts:")).trim());
  const end = options.endScript ?? (quiet ? "" : (await ports.ask("End scripts:")).trim());
  await ports.pack(["-c", packagePath, ...(begin === "" ? [] : ["-b", begin]), ...(end === "" ? [] : ["-e", end])]);

  const packed: string[] = [];
  for (const { image, rule, raw } of rules) {
    const answer = quiet ? "" : (await ports.ask(`Make ${image} ?(yes/no)`)).trim();
    const chosen = quiet ? select === "all" || select.includes(image) : answer === "yes" || answer === "y";
    if (chosen && rule !== undefined) {
      for (const call of imageCalls(config, rule, { flow, imageFolder, packagePath })) await ports.pack(call);
      if (flow === "v0.4") await blkEnvRecord(config, image, { imageFolder, packagePath, ports });
      packed.push(image);
    }
    if (flow === "v1.6" && image === "kernel" && raw && flash === "spinand") {
      await kernelEnvRecord({ imageFolder, packagePath, ports });
    }
  }
  if (flow !== "v1.6") return { packagePath, packed };
  const layoutPath = `${imageFolder}/SStarOtaLayout.txt`;
  await ports.pack(["--out-layout", layoutPath, "-r", packagePath]);
  return { packagePath, layoutPath, packed };
}

function imageCalls(
  config: PartitionConfig,
  rule: ImageRule,
  at: { readonly flow: Flow; readonly imageFolder: string; readonly packagePath: string },
): string[][] {
  const { image, file, operation } = rule;
  const nodes = attribute(config, image, "OTABLK");
  const size = words(attribute(config, image, "PATSIZE"));
  for (const [key, count] of [
    ["OTABLK", words(nodes).length],
    ["PATSIZE", size.length],
  ] as const) {
    if (count === 0 || (key === "PATSIZE" && count > 1)) {
      throw new OtaError("SIGMASTAR_CONFIG", {
        what: count === 0 ? "an image that was accepted has no value" : "the partition size is more than one word",
        where: `${printable(image)}$(${key})`,
        expected: key === "OTABLK" ? "a node to write to" : "the size of the partition",
      });
    }
  }
  const source = ["-s", `${at.imageFolder}/${file}`];
  const sized = ["-t", size[0] as string];
  if (at.flow === "v1.6") {
    const masks = ["--default-mask", attribute(config, image, "OTAMASK")];
    const rest = ["-m", "0", operation, "-l", image, "-a", at.packagePath];
    return [[...source, "-d", nodes, ...sized, ...masks, ...rest]];
  }
  return words(nodes).map((node) => [...source, "-d", node, ...sized, "-m", "0", operation, "-a", at.packagePath]);
}

interface ScriptPlace {
  readonly imageFolder: string;
  readonly packagePath: string;
  readonly ports: FlowPorts;
}

async function blkEnvRecord(config: PartitionConfig, image: string, at: ScriptPlace): Promise<void> {
  const blkEnv = attribute(config, image, "BLKENV");
  if (blkEnv === "") return;
  const path = `${at.imageFolder}/${image}_otaenv.sh`;
  await at.ports.writeScript(path, encodeText(environmentScript(blkEnv)));
  await at.ports.pack(["-s", path, "-d", `${image}_otaenv.sh`, "--script-add", "-a", at.packagePath]);
}

async function kernelEnvRecord(at: ScriptPlace): Promise<void> {
  const kernel = `${at.imageFolder}/kernel`;
  const size = await at.ports.fileSize(kernel);
  if (size === undefined) {
    throw new OtaError("SIGMASTAR_SOURCE_MISSING", {
      what: "the kernel image does not exist; its size goes into kernel_otaenv.sh even when the kernel itself is not packed",
      where: printable(kernel),
    });
  }
  const hex = size.toString(16);
  const path = `${at.imageFolder}/kernel_otaenv.sh`;
  // Two blanks behind recovery_file_size: so does the published makefile, and the bytes are part of the package.
  const text = environmentScript(`kernel_file_size ${hex}\\nrecovery_file_size  ${hex}`);
  await at.ports.writeScript(path, encodeText(text));
  const name = "kernel_otaenv.sh";
  await at.ports.pack(["-s", path, "-d", name, "-l", name, "--script-add", "-a", at.packagePath]);
}
