import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { equalBytes } from "../../core/bytes.ts";
import { memoryReader } from "../../core/streams.ts";
import { applyBsdiff40 } from "../../delta/index.ts";
import { nodeDigests } from "../../device/index.ts";
import { OPT, mapPackage, sourceNameOf, verifyPackage } from "../../sigmastar/index.ts";
import { VECTORS, chunked } from "../../../test/support/sigmastar.ts";
import { captureIo, type CapturedIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { otapackMain } from "./otapack.ts";

interface Step {
  argv: string[];
  exit?: number;
  vendor_stdout?: string;
  expect_error_about?: string;
}
interface Case {
  generation: string;
  package: string;
  modes?: Record<string, string>;
  symlinks?: Record<string, string>;
  empty_dirs?: string[];
  steps: Step[];
  kind: "pack" | "error";
  compare: "bytes" | "apply-diff" | "absent";
  layout_file?: string;
  /** Folder of the vector. */
  folder: string;
  diff_entries?: { record: number; old: string; new: string }[];
}

const root = mkdtempSync(join(tmpdir(), "otapack-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function otapack(
  cwd: string,
  argv: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; io: CapturedIo }> {
  const io = captureIo({ cwd, env });
  return { code: await runGuarded("otapack", otapackMain, argv, io), io };
}

function setUp(folder: string, name: string): { cwd: string; spec: Case } {
  const spec = { ...(JSON.parse(readFileSync(join(folder, "cmd.json"), "utf8")) as Case), folder };
  const cwd = join(root, name.replace("/", "_"));
  mkdirSync(cwd);
  if (existsSync(join(folder, "inputs"))) cpSync(join(folder, "inputs"), cwd, { recursive: true });
  for (const dir of spec.empty_dirs ?? []) mkdirSync(join(cwd, dir), { recursive: true });
  for (const [path, mode] of Object.entries(spec.modes ?? {})) chmodSync(join(cwd, path), Number.parseInt(mode, 8));
  for (const [path, target] of Object.entries(spec.symlinks ?? {})) {
    mkdirSync(dirname(join(cwd, path)), { recursive: true });
    symlinkSync(target, join(cwd, path));
  }
  return { cwd, spec };
}

const cases = ["v0.2", "v0.4", "v1.6"].flatMap((g) =>
  readdirSync(join(VECTORS, g))
    .sort()
    .map((name) => `${g}/${name}`),
);

async function expectPatched(spec: Case, record: number, patch: Uint8Array): Promise<void> {
  const entry = spec.diff_entries?.find((e) => e.record === record);
  if (entry === undefined) throw new Error("unreachable");
  const [old, fresh] = [entry.old, entry.new].map((path) => new Uint8Array(readFileSync(join(spec.folder, path))));
  const parts: Uint8Array[] = [];
  const out = applyBsdiff40(memoryReader(old as Uint8Array), memoryReader(patch));
  for await (const chunk of out) parts.push(chunk);
  expect(Buffer.compare(Buffer.concat(parts), fresh as Uint8Array)).toBe(0);
}

async function expectSameButPatches(got: Uint8Array, want: Uint8Array, spec: Case): Promise<void> {
  const [a, b] = [await mapPackage(memoryReader(got), nodeDigests), await mapPackage(memoryReader(want), nodeDigests)];
  await verifyPackage(chunked(got), nodeDigests);
  expect(a.records.length).toBe(b.records.length);
  for (const [i, record] of a.records.entries()) {
    const other = b.records[i];
    if (other === undefined) throw new Error("unreachable");
    const payload = got.subarray(record.payloadOffset, record.payloadOffset + record.head.fileSize);
    if (spec.diff_entries?.some((entry) => entry.record === i) !== true) {
      expect(equalBytes(record.headBytes, other.headBytes)).toBe(true);
      const wanted = want.subarray(other.payloadOffset, other.payloadOffset + other.head.fileSize);
      expect(equalBytes(payload, wanted)).toBe(true);
      continue;
    }
    expect(record.head.opt).toBe(OPT.FILE_DIFF);
    await expectPatched(spec, i, payload);
    // The vendor's own patch, too, is one that ours can apply.
    await expectPatched(spec, i, want.subarray(other.payloadOffset, other.payloadOffset + other.head.fileSize));
    const plain = { fileSize: 0, checkSum: 0, md5: new Uint8Array(16) };
    expect({ ...record.head, ...plain }).toEqual({ ...other.head, ...plain });
  }
}

describe("otapack against the vendor's packages", () => {
  it.each(cases)("%s", async (name) => {
    const folder = join(VECTORS, name);
    const { cwd, spec } = setUp(folder, name);
    const explicit = name.length % 2 === 0;
    for (const [i, step] of spec.steps.entries()) {
      const argv = step.argv.slice(1);
      const last = i === spec.steps.length - 1;
      const env: Record<string, string> = explicit ? {} : { OTAFORGE_SIGMASTAR_GENERATION: spec.generation };
      const { code, io } = await otapack(cwd, explicit ? ["--generation", spec.generation, ...argv] : argv, env);
      if (spec.kind === "error" && last) {
        expect(code).toBe(2);
        expect(io.stderr()).toMatch(/^otapack: \S/);
        continue;
      }
      expect([io.stderr(), code]).toEqual(["", 0]);
      const patched = spec.compare === "apply-diff" && last;
      if (step.vendor_stdout !== undefined && !patched) expect(io.stdout()).toBe(step.vendor_stdout);
    }
    const path = join(cwd, spec.package);
    if (spec.compare === "absent") {
      expect(existsSync(path)).toBe(false);
    } else {
      const got = new Uint8Array(readFileSync(path));
      const want = new Uint8Array(readFileSync(join(folder, "expected.bin")));
      if (spec.compare === "bytes") expect(Buffer.compare(got, want)).toBe(0);
      else await expectSameButPatches(got, want, spec);
    }
    if (spec.layout_file !== undefined) {
      expect(readFileSync(join(cwd, spec.layout_file), "utf8")).toBe(
        readFileSync(join(folder, "expected.layout.txt"), "utf8"),
      );
    }
    expect(readdirSync(cwd).filter((f) => f.endsWith(".tmp"))).toEqual([]);
  });

  it("names sources as the vendor does", () => {
    const names = ["/x", "//x", "a/b/", "x", "./a/b", "a"].map(sourceNameOf);
    expect(names).toEqual(["/x", "x", "", "x", "b", "a"]);
  });
});
