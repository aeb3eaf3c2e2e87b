/** A signer of payloads that is a program of the user's own, called as the original calls it. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { access, constants, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { OtaError } from "../../core/errors.ts";
import type { PayloadSigner } from "./signer.ts";

export interface PayloadSignerProgram {
  /** Program, in the path or with one. */
  readonly program: string;
  readonly args: readonly string[];
  /** Most bytes of a signature. */
  readonly signatureSize: number;
}

async function run(program: string, args: readonly string[]): Promise<{ code: number; errors: string }> {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2000)));
  const code = await new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (c) => resolve(c ?? 1));
  }).catch((e: unknown) => {
    throw new OtaError("ANDROID_SIGNER", { what: "the payload signer cannot be started", where: program }, e);
  });
  return { code, errors };
}

/** @throws OtaError ANDROID_SIGNER when the path, or the folders of PATH, have no such program */
async function needProgram(program: string): Promise<void> {
  const folders = program.includes("/") ? [""] : (process.env["PATH"] ?? "").split(delimiter);
  for (const folder of folders) {
    const found = await access(join(folder, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return;
  }
  throw new OtaError("ANDROID_SIGNER", { what: "there is no such payload signer on this machine", where: program });
}

/**
 * A signer that runs `program ...args -in HASH -out SIGNATURE`: the file HASH holds the SHA-256 of the message, 32 bytes, and
 * the program writes the raw signature, as `openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256` does.
 * `sign` throws OtaError ANDROID_SIGNER when it fails, writes nothing, or more than `signatureSize` bytes.
 * @throws OtaError ANDROID_SIGNER when there is no such program, so that this is told before minutes of work
 */
export async function payloadSignerFromProgram({
  program,
  args,
  signatureSize,
}: PayloadSignerProgram): Promise<PayloadSigner> {
  await needProgram(program);
  return {
    signatureSize,
    async sign(message) {
      const hash = createHash("sha256");
      for await (const chunk of message) hash.update(chunk);
      const folder = await mkdtemp(join(tmpdir(), "otaforge-sign-"));
      try {
        const [input, output] = [join(folder, "hash"), join(folder, "signature")];
        await writeFile(input, hash.digest());
        const { code, errors } = await run(program, [...args, "-in", input, "-out", output]);
        const value = code === 0 ? await readFile(output).catch(() => new Uint8Array(0)) : new Uint8Array(0);
        if (value.length > 0 && value.length <= signatureSize) return new Uint8Array(value);
        throw new OtaError("ANDROID_SIGNER", {
          what: "the payload signer failed",
          where: program,
          expected: `exit code 0 and a raw signature of at most ${signatureSize} bytes in the file behind -out`,
          found: errors.trim() === "" ? `exit code ${code}, ${value.length} bytes` : errors.trim().slice(-500),
        });
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
