// Compiles src/delta/core/ to WebAssembly.
//
// The core is one source for two targets. As AssemblyScript `number` reads `i32`, `boolean` reads `bool`, and
// assembly/memory.ts, which names the machine's instructions, stands in for core/memory.ts. Nothing else is changed.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const delta = fileURLToPath(new URL("../src/delta/", import.meta.url));

/** Source texts by module name, as AssemblyScript reads them. */
function sources() {
  const texts = new Map();
  for (const file of readdirSync(path.join(delta, "core")).sort()) {
    if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
    const text = readFileSync(path.join(delta, "core", file), "utf8")
      .replace(/(from "\.\/[\w-]+)\.ts"/g, '$1"')
      .replace(/: number\b/g, ": i32")
      .replace(/: boolean\b/g, ": bool");
    texts.set(file, text);
  }
  texts.set("memory.ts", readFileSync(path.join(delta, "assembly", "memory.ts"), "utf8"));
  return texts;
}

const FLAGS = ["-O3", "--converge", "--noAssert", "--runtime", "stub", "--importMemory", "--sharedMemory"];
const LIMITS = ["--initialMemory", "1", "--maximumMemory", "65536", "--enable", "simd", "--enable", "threads"];

/** A digest of everything that decides the result. */
export function coreDigest() {
  const hash = createHash("sha256").update(asc.version).update(FLAGS.join()).update(LIMITS.join());
  for (const [name, text] of sources()) hash.update(name).update(text);
  return hash.digest("hex").slice(0, 16);
}

/** Compiles the core to `file`. */
export async function buildCore(file) {
  const texts = sources();
  const lookup = (name) => texts.get(path.basename(name)) ?? null;
  const written = new Map();
  const { error, stderr } = await asc.main(["main.ts", "--outFile", "core.wasm", ...FLAGS, ...LIMITS], {
    readFile: (name) => (name.startsWith("asconfig") || name.includes("node_modules") ? null : lookup(name)),
    writeFile: (name, data) => written.set(name, data),
    listFiles: () => [],
  });
  if (error) throw new Error(`the core does not compile:\n${stderr.toString()}`);
  mkdirSync(path.dirname(file), { recursive: true });
  // Written beside and renamed: two test runs may build at once.
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, written.get("core.wasm"));
  renameSync(temporary, file);
}

/** Builds the core for tests on the sources, unless it is there already. @returns the file */
export async function coreForTests() {
  const file = fileURLToPath(new URL(`../dist/core-${coreDigest()}.wasm`, import.meta.url));
  if (!existsSync(file)) await buildCore(file);
  return file;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildCore(fileURLToPath(new URL("../dist/delta/core.wasm", import.meta.url)));
}
