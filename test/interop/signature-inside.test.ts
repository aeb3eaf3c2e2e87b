/** A signature inside a gzip file is nothing to the programs that read such files. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { signedBench } from "../support/signed-benches.ts";
import { gunzipSync } from "node:zlib";

test("gzip, gunzip, zcat and python3 read a package with a signature in its header as before", async () => {
  const { folder, name } = await signedBench("sigmastar.gz embedded");
  const path = join(folder, name);
  const plain = gunzipSync(readFileSync(path));
  execFileSync("gzip", ["-t", path]);
  expect(execFileSync("gunzip", ["-c", path]).equals(plain)).toBe(true);
  expect(execFileSync("zcat", [path]).equals(plain)).toBe(true);
  const program = "import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";
  expect(execFileSync("python3", ["-c", program, path]).equals(plain)).toBe(true);
});
