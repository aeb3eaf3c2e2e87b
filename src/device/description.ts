/** DEVICE.json: a board, or its picture on a PC. Its JSON schema is docs/device.schema.json. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { OtaError } from "../core/index.ts";
import { nearest } from "./nearest.ts";
import { deviceError } from "./system-errors.ts";

const path = z.string().min(1);
const devicePath = z.string().regex(/^\//, "must begin with /");
const size = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

const nodeSchema = z
  .strictObject({
    file: path.meta({ description: "file that holds the node's content" }),
    kind: z.enum(["block", "nand", "nor", "ubi"]).meta({ description: "what the node is on the board" }),
    size: size.optional().meta({ description: "bytes; default: the file's size. A missing file is made this large" }),
    eraseSize: size
      .positive()
      .optional()
      .meta({ description: "flash: bytes of an erase block; default 131072 (nand), 65536 (nor)" }),
    writeSize: size.positive().optional().meta({ description: "flash: bytes of a page; default 2048 (nand), 1 (nor)" }),
    badBlocks: z.array(size).optional().meta({ description: "nand: numbers of bad erase blocks" }),
    name: z.string().min(1).optional().meta({ description: "ubi: name of the volume" }),
    type: z.enum(["static", "dynamic"]).optional().meta({ description: "ubi: kind of the volume, default dynamic" }),
  })
  .meta({ description: "a raw node of the board and the file that stands for it" });

const mountSchema = z
  .strictObject({
    dir: path.optional().meta({ description: "folder that holds the files" }),
    image: path
      .optional()
      .meta({ description: "file system image; a raw target, whose files are reached as root on Linux" }),
    node: devicePath.optional().meta({ description: "device that scripts name for it" }),
    fsType: z.string().optional().meta({ description: "file system (ext4, ubifs …)" }),
    mounted: z.boolean().optional().meta({
      description: "mounted when the installer starts; default true, for android false (a recovery mounts itself)",
    }),
    readOnly: z.boolean().optional(),
    freeBytes: size.optional().meta({ description: "free space to pretend; default: that of the folder" }),
    volatile: z.boolean().optional().meta({ description: "forgets its files at a power cut (tmpfs)" }),
  })
  .refine((mount) => mount.dir === undefined || mount.image === undefined, "has both dir and image")
  .meta({ description: "a file system of the board" });

const framebufferSchema = z
  .strictObject({
    file: path.meta({ description: "framebuffer node or plain file" }),
    width: size.positive(),
    height: size.positive(),
    bitsPerPixel: z.union([z.literal(16), z.literal(24), z.literal(32)]),
    strideBytes: size.positive().optional(),
    channelOrder: z
      .enum(["bgr", "rgb"])
      .optional()
      .meta({ description: "bytes of a pixel from low to high, default bgr" }),
  })
  .meta({ description: "screen for progress where the kernel's sysfs does not describe one" });

export const deviceDescriptionSchema = z
  .strictObject({
    $schema: z.string().optional().meta({ description: "for editors; not used" }),
    kind: z
      .enum(["board", "image"])
      .optional()
      .meta({ description: "default: image as soon as root, nodes, mounts or card say what stands for the board" }),
    family: z.enum(["sigmastar", "k230", "android"]).optional(),
    hardware: z.string().optional().meta({ description: "text compared with the package where it names one" }),
    chip: z.string().optional().meta({ description: "k230: compared with the image's chip text" }),
    board: z.string().optional().meta({ description: "k230: compared with the image's board text" }),
    root: path.optional().meta({ description: "folder that stands for /" }),
    nodes: z.record(devicePath, nodeSchema).optional().meta({ description: "raw nodes by their path on the board" }),
    ubiFreeBytes: size.optional().meta({ description: "room for more UBI volumes, default 0" }),
    card: path.optional().meta({ description: "k230: the whole medium" }),
    medium: z.enum(["sdcard", "emmc", "spi-nand", "spi-nor"]).optional(),
    loader: z
      .strictObject({ readsMetaOn: z.array(z.enum(["sdcard", "emmc", "spi-nand", "spi-nor"])) })
      .optional()
      .meta({ description: "k230: media on which the loader reads ota_meta; the stock one reads sdcard and emmc" }),
    mounts: z
      .record(devicePath, mountSchema)
      .optional()
      .meta({ description: "file systems by the folder they are seen at" }),
    properties: z.record(z.string(), z.string()).optional().meta({ description: "system properties" }),
    running: z.enum(["a", "b"]).optional().meta({ description: "the running slot" }),
    state: path.optional().meta({ description: "folder for journals and counters" }),
    keys: z
      .array(path)
      .optional()
      .meta({ description: "public keys or certificates; with keys, unsigned packages are refused" }),
    minimumVersion: z.string().optional().meta({ description: "older packages are refused" }),
    framebuffer: framebufferSchema.optional(),
  })
  .meta({ title: "Otaforge device description", description: "A board, or files and folders that stand for it" });

export type DeviceDescription = z.infer<typeof deviceDescriptionSchema>;

/** The published JSON schema. */
export function deviceJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(deviceDescriptionSchema, { target: "draft-2020-12" });
}

/** `nodes."/dev/mtd4".size`: how a field is named in messages. */
function fieldName(parts: readonly PropertyKey[]): string {
  return parts
    .map((part, i) => {
      if (typeof part === "number") return `[${part}]`;
      const name = /^[A-Za-z_$][\w$]*$/.test(String(part)) ? String(part) : JSON.stringify(String(part));
      return i === 0 ? name : `.${name}`;
    })
    .join("");
}

type Issue = z.core.$ZodIssue;

/** Names of the fields that an object at this place may have. */
function knownFields(parts: readonly PropertyKey[]): string[] {
  const [first, , third] = parts;
  if (first === undefined) return Object.keys(deviceDescriptionSchema.shape);
  if (third !== undefined) return [];
  if (first === "nodes") return Object.keys(nodeSchema.shape);
  if (first === "mounts") return Object.keys(mountSchema.shape);
  if (first === "framebuffer") return Object.keys(framebufferSchema.shape);
  return first === "loader" ? ["readsMetaOn"] : [];
}

function explain(issue: Issue, file: string): OtaError {
  const at = (parts: readonly PropertyKey[]): string => `${file}, field ${fieldName(parts)}`;
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0] as string;
    const guess = nearest(key, knownFields(issue.path));
    return new OtaError("DEVICE_DESCRIPTION", {
      what: "the device description has an unknown field",
      where: at([...issue.path, key]),
      hint: guess === undefined ? "docs/device.md lists the fields." : `Did you mean ${JSON.stringify(guess)}?`,
    });
  }
  const where = issue.path.length === 0 ? file : at(issue.path);
  if (issue.code === "invalid_value") {
    const expected = issue.values.map((v) => JSON.stringify(v)).join(", ");
    const guess = typeof issue.input === "string" ? nearest(issue.input, issue.values.map(String)) : undefined;
    return new OtaError("DEVICE_DESCRIPTION", {
      what: "a field of the device description has a value that is not known",
      where,
      expected: `one of ${expected}`,
      ...(issue.input === undefined ? {} : { found: JSON.stringify(issue.input) }),
      ...(guess === undefined ? {} : { hint: `Did you mean ${JSON.stringify(guess)}?` }),
    });
  }
  if (issue.code === "invalid_key" || issue.code === "invalid_type") {
    return new OtaError("DEVICE_DESCRIPTION", {
      what: "a field of the device description is missing or of the wrong type",
      where,
      expected: issue.code === "invalid_type" ? issue.expected : "a path that begins with /",
    });
  }
  return new OtaError("DEVICE_DESCRIPTION", { what: `the device description is wrong: ${issue.message}`, where });
}

/** Checks a description's JSON text. `file` is named in errors. @throws OtaError DEVICE_DESCRIPTION */
export function parseDescription(text: string, file: string): DeviceDescription {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    const found = e instanceof Error ? e.message : String(e);
    throw new OtaError("DEVICE_DESCRIPTION", { what: "the device description is not JSON", where: file, found }, e);
  }
  const result = deviceDescriptionSchema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  throw explain(result.error.issues[0] as Issue, file);
}

/** A description whose paths are absolute. */
export interface LocatedDescription extends DeviceDescription {
  /** The file it came from; undefined for a board without one. */
  readonly file: string | undefined;
}

/** Reads DEVICE.json and makes its relative paths relative to the file. @throws OtaError DEVICE_DESCRIPTION, DEVICE_NOT_FOUND */
export async function readDescription(file: string): Promise<LocatedDescription> {
  const text = await readFile(file, "utf8").catch((e: unknown) => {
    throw deviceError(e, file);
  });
  return locateDescription(parseDescription(text, file), file);
}

/** Makes relative paths relative to the description's file. */
export function locateDescription(description: DeviceDescription, file: string): LocatedDescription {
  const folder = dirname(resolve(file));
  const at = (p: string): string => resolve(folder, p);
  const map = <T, U>(record: Record<string, T>, change: (value: T) => U): Record<string, U> =>
    Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
  const { root, nodes, card, mounts, state, keys } = description;
  return {
    ...description,
    file: resolve(file),
    ...(root === undefined ? {} : { root: at(root) }),
    ...(card === undefined ? {} : { card: at(card) }),
    ...(state === undefined ? {} : { state: at(state) }),
    ...(keys === undefined ? {} : { keys: keys.map(at) }),
    ...(nodes === undefined ? {} : { nodes: map(nodes, (node) => ({ ...node, file: at(node.file) })) }),
    ...(mounts === undefined
      ? {}
      : {
          mounts: map(mounts, (mount) => ({
            ...mount,
            ...(mount.dir === undefined ? {} : { dir: at(mount.dir) }),
            ...(mount.image === undefined ? {} : { image: at(mount.image) }),
          })),
        }),
  };
}

/** Whether the description stands for a board, or for its picture on a PC. */
export function descriptionKind(description: DeviceDescription | undefined): "board" | "image" {
  if (description === undefined) return "board";
  if (description.kind !== undefined) return description.kind;
  const { root, nodes, mounts, card } = description;
  const cardIsFile = card !== undefined && !card.startsWith("/dev/");
  return root !== undefined || nodes !== undefined || mounts !== undefined || cardIsFile ? "image" : "board";
}
