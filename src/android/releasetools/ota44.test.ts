// The 4.4 tool's own output, script for script and entry for entry (test/vectors/android/ota44).
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { memoryReader } from "../../core/streams.ts";
import { fromDosTime, memorySink, openZip, type ZipArchive } from "../../core/zip/index.ts";
import { nodeCodecs, nodeDigests } from "../../device/index.ts";
import { openTargetFiles, type TargetFiles } from "../target-files/target-files.ts";
import { SCRIPT_NAME } from "../entry-names.ts";
import { makeFull } from "./full.ts";
import { makeIncremental } from "./incremental.ts";
import type { MadePackage, MakeOptions } from "./options.ts";
import type { PatchMaker } from "./patches.ts";
import { writePlan } from "./write-package.ts";

const ROOT = join(import.meta.dirname, "../../../test/vectors/android/ota44");
const codecs = nodeCodecs;
const sha1 = (b: Uint8Array): string => createHash("sha1").update(b).digest("hex");
const open = (file: string): Promise<ZipArchive> =>
  openZip(memoryReader(new Uint8Array(readFileSync(file))), { codecs });

interface Entry {
  name: string;
  size: number;
  method: number;
  date: string;
  mode: string;
  sha1: string;
  patch?: string;
}

/** Gives the patches of the reference package, so that decisions rest on the original's sizes. */
function recordedPatches(unsigned: ZipArchive, target: TargetFiles): PatchMaker {
  const byHash = new Map<string, string>();
  const learn = async (): Promise<void> => {
    if (byHash.size > 0) return;
    for (const { name, entry } of target.system.files)
      byHash.set(sha1(await target.zip.read(entry)), `patch/${name}.p`);
  };
  // Moved files are packed under their source's name.
  const other = (name: string): string =>
    name.includes("/lib/") ? name.replace("/lib/", "/etc/") : name.replace("/etc/", "/lib/");
  const find = async (target: Uint8Array): Promise<Uint8Array | undefined> => {
    await learn();
    const name = byHash.get(sha1(target)) ?? "";
    const entry = unsigned.get(name) ?? unsigned.get(other(name));
    return entry === undefined ? undefined : unsigned.read(entry);
  };
  return {
    jobs: 2,
    bsdiff: async (_source, target) => (await find(target)) ?? target,
    async imgdiff(source, target, { zip }) {
      if (zip) return find(target);
      const image = Buffer.from(target.subarray(0, 8)).toString() === "ANDROID!";
      if (!image) return find(target);
      const boot = unsigned.get("patch/boot.img.p");
      const recovery = unsigned.get("recovery/recovery-from-boot.p");
      // The boot patch is made first; both sources are boot images, so the target's size tells them apart.
      const entry = target.length > source.length ? recovery : boot;
      return entry === undefined ? undefined : unsigned.read(entry);
    },
  };
}

async function make(
  folder: string,
  args: readonly string[],
  unsigned: ZipArchive,
  extra: Partial<MakeOptions> = {},
): Promise<{ made: MadePackage; log: string[] }> {
  const log: string[] = [];
  const note = (_level: "info" | "warning", text: string): void => void log.push(text);
  const load = async (name: string, logged: boolean): Promise<TargetFiles> =>
    openTargetFiles(
      { zip: await open(join(ROOT, folder, name)) },
      { digests: nodeDigests, profile: extra.profile ?? "vendor", note: logged ? note : () => undefined },
    );
  const rest = [...args];
  const target = await load(rest.splice(-2)[0] as string, true);
  let source: TargetFiles | undefined;
  const options: { -readonly [K in keyof MakeOptions]?: MakeOptions[K] } = {};
  while (rest.length > 0) {
    const option = rest.shift();
    if (option === "-i") source = await load(rest.shift() as string, true);
    else if (option === "-e") options.extraScript = readFileSync(join(ROOT, folder, rest.shift() as string), "utf8");
    else if (option === "-w") options.wipeUserData = true;
    else if (option === "-n") options.omitPrereq = true;
    else if (option === "-2" || option === "--two_step") options.twoStep = true;
    else if (option === "-a") rest.shift();
    else throw new Error(`option ${option}`);
  }
  const full: MakeOptions = {
    digests: nodeDigests,
    patches: recordedPatches(unsigned, target),
    progress: { progress() {}, note },
    profile: "vendor",
    ...options,
    ...extra,
  };
  return { made: await (source === undefined ? makeFull(target, full) : makeIncremental(source, target, full)), log };
}

/** Renames are compared as a set: their order is arbitrary in the original. */
function sortRenames(script: string): string {
  const lines = script.split("\n");
  const at = lines.findIndex((l) => l.startsWith("rename("));
  if (at < 0) return script;
  const count = lines.slice(at).findIndex((l) => !l.startsWith("rename("));
  lines.splice(at, count, ...lines.slice(at, at + count).sort());
  return lines.join("\n");
}

function date(when: { time: number; date: number }): string {
  const t = fromDosTime(when);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${t.year}-${two(t.month)}-${two(t.day)} ${two(t.hour)}:${two(t.minute)}:${two(t.second)}`;
}

describe("packages of the 4.4 tool", () => {
  for (const folder of readdirSync(ROOT, { withFileTypes: true }).filter((d) => d.isDirectory())) {
    for (const variant of readdirSync(join(ROOT, folder.name), { withFileTypes: true }).filter((d) =>
      d.isDirectory(),
    )) {
      const path = join(ROOT, folder.name, variant.name);
      const kase = JSON.parse(readFileSync(join(path, "case.json"), "utf8")) as { args: string[]; exit_code: number };
      it(`${folder.name}/${variant.name}: ${kase.args.join(" ")}`, async () => {
        if (kase.exit_code !== 0) {
          const none = await open(join(ROOT, "basic/full/unsigned.zip"));
          await expect(make(folder.name, kase.args, none)).rejects.toMatchObject({ code: "ANDROID_NOT_POSSIBLE" });
          return;
        }
        const reference = await open(join(path, "unsigned.zip"));
        const { made, log } = await make(folder.name, kase.args, reference);
        expect(sortRenames(made.script)).toBe(sortRenames(readFileSync(join(path, "updater-script"), "utf8")));
        const sink = memorySink();
        await writePlan(made.plan, sink, { codecs, digests: nodeDigests });
        const zip = await openZip(memoryReader(sink.bytes()), { codecs });
        const entries: Entry[] = [];
        for (const e of zip.entries) {
          const data = await zip.read(e);
          const magic = Buffer.from(data.subarray(0, 8)).toString("latin1");
          entries.push({
            name: e.name,
            size: e.size,
            method: e.method,
            date: date(e),
            mode: (e.externalAttributes >>> 16).toString(8),
            sha1: sha1(e.name === SCRIPT_NAME ? Buffer.from(sortRenames(Buffer.from(data).toString())) : data),
            ...(e.name.endsWith(".p") ? { patch: magic } : {}),
          });
        }
        const expected = JSON.parse(readFileSync(join(path, "unsigned-entries.json"), "utf8")) as Entry[];
        // The reference's script with its renames sorted, as ours is compared.
        const script = expected.find((e) => e.name === SCRIPT_NAME) as Entry;
        script.sha1 = sha1(Buffer.from(sortRenames(readFileSync(join(path, "updater-script"), "utf8"))));
        expect(entries).toEqual(expected);
        const text = async (name: string): Promise<string> => Buffer.from(await zip.read(zip.need(name))).toString();
        expect(await text("META-INF/com/android/metadata")).toBe(readFileSync(join(path, "metadata"), "utf8"));
        const decisions = readFileSync(join(path, "decisions.txt"), "utf8")
          .split("\n")
          .filter((l) => l !== "");
        const ours = log.filter((l) => !/^ *\d+ \/|^no patch|size \(/.test(l));
        expect([...ours].sort()).toEqual([...decisions].sort());
      });
    }
  }
});
