/** The device of a specification as files on disk with a DEVICE.json: what `otaforge install --device` works on. */
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { SimulatedFile, SimulatedSpec } from "../../src/device/index.ts";

export interface DiskDeviceOptions {
  /** Mounts that are ext4 images instead of folders, with the image's size in bytes. */
  readonly images?: Readonly<Record<string, number>>;
}

/** Writes the device below `folder`, which may be copied then; gives the path of its description. */
export function writeDiskDevice(spec: SimulatedSpec, folder: string, { images = {} }: DiskDeviceOptions = {}): string {
  const points = Object.keys(spec.fileSystems ?? {}).filter((at) => at !== "/");
  const place = (at: string): string => join(folder, "fs", at === "/" ? "root" : at.slice(1).replaceAll("/", "-"));
  for (const at of ["/", ...points]) mkdirSync(place(at), { recursive: true });
  for (const [path, file] of Object.entries(spec.files ?? {})) {
    const at = points.find((point) => path.startsWith(`${point}/`)) ?? "/";
    const real = join(place(at), at === "/" ? path : path.slice(at.length));
    const plain: Exclude<SimulatedFile, string | Uint8Array> =
      typeof file === "string"
        ? { content: new TextEncoder().encode(file) }
        : file instanceof Uint8Array
          ? { content: file }
          : file;
    mkdirSync(plain.kind === "folder" ? real : dirname(real), { recursive: true });
    if (plain.link !== undefined) symlinkSync(plain.link, real);
    else if (plain.kind !== "folder") writeFileSync(real, plain.content ?? "");
  }
  const nodes: Record<string, object> = {};
  for (const [path, node] of Object.entries(spec.nodes ?? {})) {
    const file = `node-${basename(path)}.img`;
    writeFileSync(join(folder, file), node.content ?? new Uint8Array(0));
    if (node.size !== undefined) truncateSync(join(folder, file), node.size);
    nodes[path] = { file, kind: node.kind };
  }
  const mounts: Record<string, object> = {};
  for (const [at, { node, mounted }] of Object.entries(spec.fileSystems ?? {})) {
    const others = {
      ...(node === undefined ? {} : { node }),
      ...(mounted === undefined ? { mounted: true } : { mounted }),
    };
    const size = images[at];
    if (size === undefined) mounts[at] = { dir: relative(folder, place(at)), ...others };
    else {
      const image = `${place(at)}.img`;
      writeFileSync(image, "");
      truncateSync(image, size);
      execFileSync("mkfs.ext4", ["-q", "-F", "-d", place(at), image], { env: { ...process.env, PATH: SBIN } });
      mounts[at] = { image: relative(folder, image), fsType: "ext4", ...others };
    }
  }
  const { properties } = spec;
  const file = join(folder, "DEVICE.json");
  writeFileSync(
    file,
    JSON.stringify({ family: "android", root: relative(folder, place("/")), nodes, mounts, properties }),
  );
  return file;
}

/** Programs for file systems often lie where only root's path leads. */
export const SBIN = `${process.env["PATH"]}:/usr/sbin:/sbin`;
