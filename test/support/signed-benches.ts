/** A small signed package of each family and form, with a device on disk that trusts its key: what the security tests attack. */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { captureIo } from "../../src/cli/io.ts";
import { otaforgeMain } from "../../src/cli/otaforge.ts";
import { runGuarded } from "../../src/cli/run.ts";
import type { Generation } from "../../src/sigmastar/layout.ts";
import { selfSigned } from "./certificate.ts";
import { makeZip } from "./make-zip.ts";
import { cardRunning, makeDelta, NEW, OLD } from "./k230-delta.ts";
import { vectorBytes, vectorDisk } from "./k230-vectors.ts";
import { noise, testPackage } from "./sigmastar-package.ts";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command in `folder`. */
export async function otaforge(folder: string, argv: readonly string[], stdin?: Uint8Array): Promise<Ran> {
  const io = captureIo({ cwd: folder, ...(stdin === undefined ? {} : { stdin }) });
  const code = await runGuarded("otaforge", otaforgeMain, argv, io);
  return { code, out: io.stdout(), err: io.stderr() };
}

export interface Bench {
  readonly folder: string;
  /** The package's name in the folder. */
  readonly name: string;
  /** Files that are signed or sign: flipping a byte of any of them must be refused. */
  readonly files: readonly string[];
  install(...more: string[]): Promise<Ran>;
  /** Digest of everything a target is. */
  targets(): string;
}

/** Digest of a folder's files, names and contents. */
function digestOf(path: string): string {
  const hash = createHash("sha256");
  const add = (at: string): void => {
    if (statSync(at).isDirectory()) for (const n of readdirSync(at).sort()) add(join(at, n));
    else hash.update(at).update(readFileSync(at));
  };
  add(path);
  return hash.digest("hex");
}

export const FORMS = [
  "sigmastar",
  "sigmastar v0.2",
  "sigmastar v0.3",
  "sigmastar v0.4",
  "sigmastar.gz",
  "sigmastar.gz embedded",
  "k230",
  "k230 embedded",
  "k230.gz embedded",
  "k230 delta",
  "k230 delta embedded",
  "android",
  "android a/b",
  "android payload",
] as const;
export type Form = (typeof FORMS)[number];

function sigmastarPackage(generation: Generation): Uint8Array {
  return testPackage({
    generation,
    records: [
      { operation: "BLK_UPDATE", destination: "/dev/mtd5", payload: noise(700, 5), destinationSize: 4096 },
      { operation: "FILE_UPDATE", destination: "/config/app.conf", payload: "mode=new\n" },
    ],
  });
}

const SIGMASTAR_DEVICE = {
  family: "sigmastar",
  hardware: "cam-1",
  root: "root",
  nodes: { "/dev/mtd5": { file: "targets/mtd5.img", kind: "block", size: 4096 } },
  keys: ["release.pub.pem"],
};

const PAYLOADS = join(import.meta.dirname, "../vectors/android/payload/generated");

/** A device of two slots, the first running. */
function abDevice(put: (name: string, content: Uint8Array) => void): Record<string, unknown> {
  const nodes: Record<string, unknown> = {};
  for (const name of ["boot", "system"]) {
    const size = statSync(join(PAYLOADS, `${name}-new.img`)).size;
    put(`targets/${name}_a.img`, readFileSync(join(PAYLOADS, `${name}-old.img`)));
    put(`targets/${name}_b.img`, Buffer.alloc(size));
    for (const slot of ["a", "b"]) {
      nodes[`/dev/block/by-name/${name}_${slot}`] = { file: `targets/${name}_${slot}.img`, kind: "block" };
    }
  }
  return { family: "android", running: "a", nodes, keys: ["release.x509.pem"] };
}

const SCRIPT = `package_extract_file("f", "/system/f");\nset_perm(0, 0, 0644, "/system/f");\n`;

/** Makes the bench of a form; `version` is signed with the package. */
export async function signedBench(form: Form, version = "2.0.0"): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-signed-"));
  const put = (name: string, content: string | Uint8Array): void => writeFileSync(join(folder, name), content);
  mkdirSync(join(folder, "targets"));
  mkdirSync(join(folder, "root/config"), { recursive: true });
  const family = form.split(/[. ]/)[0] as "sigmastar" | "k230" | "android";
  const gzipped = form.includes(".gz");
  const embedded = form.endsWith("embedded");
  let name: string;
  let targets = ["targets", "root"];
  if (family === "sigmastar") {
    name = gzipped ? "SStarOta.bin.gz" : "SStarOta.bin";
    const generation = (/ (v[0-9.]+)/.exec(form)?.[1] ?? "v1.6") as Generation;
    put(name, gzipped ? gzipSync(sigmastarPackage(generation)) : sigmastarPackage(generation));
    put("targets/mtd5.img", Buffer.alloc(4096, 1));
    put("root/config/app.conf", "mode=old\n");
    put("DEVICE.json", JSON.stringify(SIGMASTAR_DEVICE));
  } else if (family === "k230") {
    const isDelta = form.includes("delta");
    const image = isDelta ? (await makeDelta(OLD, NEW)).image : vectorBytes("powercut-a-to-b", "image.kdimg.gz");
    name = gzipped ? "image.kdimg.gz" : "image.kdimg";
    put(name, gzipped ? gzipSync(image) : image);
    put("targets/card.img", isDelta ? cardRunning(OLD) : vectorDisk("powercut-a-to-b"));
    put(
      "DEVICE.json",
      JSON.stringify({
        family: "k230",
        hardware: "cam-1",
        card: "targets/card.img",
        medium: "sdcard",
        keys: ["release.pub.pem"],
      }),
    );
  } else {
    const own = await selfSigned("release", new Date("2020-01-01"), new Date("2049-01-01"));
    put("release.pem", own.key);
    put("release.x509.pem", own.certificate);
    if (form === "android") {
      name = "update.zip";
      targets = ["root"];
      mkdirSync(join(folder, "root/system"));
      put(
        name,
        makeZip({
          f: "new system file\n",
          "META-INF/com/google/android/updater-script": SCRIPT,
          "META-INF/com/android/metadata": "post-timestamp=1\n",
        }),
      );
      put(
        "DEVICE.json",
        JSON.stringify({
          family: "android",
          root: "root",
          mounts: { "/system": { dir: "root/system" }, "/cache": { dir: "cache" } },
          keys: ["release.x509.pem"],
        }),
      );
      mkdirSync(join(folder, "cache"));
    } else {
      const payload = readFileSync(join(PAYLOADS, "delta-unsigned/payload.bin"));
      name = form === "android payload" ? "payload.bin" : "update.zip";
      const metadata = "ota-type=AB\npost-timestamp=1\n";
      put(
        name,
        name === "payload.bin"
          ? payload
          : makeZip({
              "payload.bin": payload,
              "payload_properties.txt": readFileSync(join(PAYLOADS, "delta-unsigned/payload_properties.txt")),
              "META-INF/com/android/metadata": metadata,
            }),
      );
      put("DEVICE.json", JSON.stringify(abDevice(put)));
    }
  }
  if (family === "android") {
    const signed = await otaforge(folder, ["sign", name, "--key", "release.pem"]);
    if (signed.code !== 0) throw new Error(signed.err);
  } else {
    const made = await otaforge(folder, ["keygen", "release"]);
    if (made.code !== 0) throw new Error(made.err);
    const more = embedded ? ["--embed"] : [];
    const options = ["--key", "release.pem", "--package-version", version, "--hardware", "cam-1", ...more];
    const signed = await otaforge(folder, ["sign", name, ...options]);
    if (signed.code !== 0) throw new Error(signed.err);
  }
  return {
    folder,
    name,
    files: embedded || family === "android" ? [name] : [name, `${name}.manifest`],
    install: (...more) => otaforge(folder, ["install", name, "--device", "DEVICE.json", "--json", ...more]),
    targets: () => targets.map((t) => digestOf(join(folder, t))).join(),
  };
}
