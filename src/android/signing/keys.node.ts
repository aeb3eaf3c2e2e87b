/** Signers over key files, and over a command of the user's own. */
import { spawn } from "node:child_process";
import { createPrivateKey, createSign, X509Certificate, type KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";
import { certificateFacts } from "./cms.ts";
import type { PackageSigner } from "./signer.ts";

const HOW_TO_MAKE =
  "Make one with: openssl req -x509 -newkey rsa:2048 -sha256 -days 10000 -nodes -keyout KEY.pem -out KEY.x509.pem -subj /CN=release " +
  "and openssl pkcs8 -topk8 -nocrypt -outform DER -in KEY.pem -out KEY.pk8";

/** Key files by their common path (`keys/release` for `keys/release.pk8` and `keys/release.x509.pem`). */
export interface KeyFiles {
  readonly path: string;
  /** Default `.pk8`; when it is not there, `.pem` is looked for. */
  readonly privateKeySuffix?: string;
  /** Default `.x509.pem`. */
  readonly publicKeySuffix?: string;
  /** Of an encrypted private key. */
  readonly password?: string;
}

async function readKeyFile(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (e) {
    throw new OtaError("ANDROID_KEY", { what: `the ${what} cannot be read`, where: path, hint: HOW_TO_MAKE }, e);
  }
}

function isPem(bytes: Buffer): boolean {
  return bytes.subarray(0, 4096).includes("-----BEGIN ");
}

/** A private key: PKCS#8 as DER or PEM, or one of openssl's older PEM forms. */
function parsePrivateKey(bytes: Buffer, path: string, password: string | undefined): KeyObject {
  const secret = password === undefined ? {} : { passphrase: password };
  try {
    return isPem(bytes)
      ? createPrivateKey({ key: bytes, format: "pem", ...secret })
      : createPrivateKey({ key: bytes, format: "der", type: "pkcs8", ...secret });
  } catch (e) {
    // The reason is kept, the bytes are not: nothing of a key may reach a log.
    const locked = e instanceof Error && /passphrase|interrupted|bad decrypt/i.test(e.message);
    throw new OtaError("ANDROID_KEY", {
      what: locked
        ? "the private key is encrypted and the password is missing or wrong"
        : "the private key cannot be read",
      where: path,
      expected: "PKCS#8 (DER or PEM)",
      ...(locked ? { hint: "Give the password in the variable OTAFORGE_KEY_PASSWORD." } : {}),
    });
  }
}

interface Certificate {
  readonly x509: X509Certificate;
  readonly facts: Omit<PackageSigner, "sign">;
}

/** Recovery of 4.4 to 8 takes RSA 2048 with exponent 3 or 65537, and EC P-256 from 5.0 on; from 9 on also RSA 4096. */
function checkKey(key: KeyObject, path: string): "rsa" | "ec" {
  const { modulusLength, publicExponent, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "rsa") {
    const good =
      (modulusLength === 2048 || modulusLength === 4096) && (publicExponent === 3n || publicExponent === 65537n);
    if (good) return "rsa";
  } else if (key.asymmetricKeyType === "ec" && namedCurve === "prime256v1") return "ec";
  throw new OtaError("ANDROID_KEY", {
    what: "no recovery accepts this kind of key",
    where: path,
    expected: "RSA with 2048 bits and exponent 3 or 65537, or EC P-256",
    found: `${key.asymmetricKeyType ?? "?"} ${modulusLength ?? namedCurve ?? ""}`.trim(),
  });
}

async function readCertificate(path: string): Promise<Certificate> {
  const bytes = await readKeyFile(path, "certificate");
  let x509: X509Certificate;
  try {
    x509 = new X509Certificate(bytes);
  } catch (e) {
    throw new OtaError("ANDROID_KEY", { what: "the certificate cannot be read", where: path }, e);
  }
  const certificate = new Uint8Array(x509.raw);
  const keyType = checkKey(x509.publicKey, path);
  const { hash } = certificateFacts(certificate);
  if (keyType === "ec" && hash !== "sha256") {
    throw new OtaError("ANDROID_KEY", { what: "an EC key needs a certificate signed with SHA-256", where: path });
  }
  const otacert = isPem(bytes) ? new Uint8Array(bytes) : new TextEncoder().encode(x509.toString());
  const bits = x509.publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
  // DER of two 256-bit integers: 2 + 2 * (2 + 33).
  const signatureSize = keyType === "rsa" ? bits / 8 : 72;
  return { x509, facts: { certificate, otacert, keyType, hash, signatureSize } };
}

/** A signer over a key pair in files. @throws OtaError ANDROID_KEY */
export async function signerFromFiles(files: KeyFiles): Promise<PackageSigner> {
  const suffix =
    files.privateKeySuffix ??
    (existsSync(`${files.path}.pk8`) ? ".pk8" : existsSync(`${files.path}.pem`) ? ".pem" : ".pk8");
  const certificatePath = files.path + (files.publicKeySuffix ?? ".x509.pem");
  const keyPath = files.path + suffix;
  const { x509, facts } = await readCertificate(certificatePath);
  const key = parsePrivateKey(await readKeyFile(keyPath, "private key"), keyPath, files.password);
  if (!x509.checkPrivateKey(key)) {
    throw new OtaError("ANDROID_KEY", {
      what: "private key and certificate do not belong together",
      where: keyPath,
      found: certificatePath,
    });
  }
  return {
    ...facts,
    async sign(message, hash = facts.hash) {
      const sign = createSign(hash);
      for await (const chunk of message) sign.update(chunk);
      return new Uint8Array(sign.sign(key));
    },
  };
}

/** Signatures are a few hundred bytes; a command that prints more does something else. */
const MOST_OUTPUT = 16 * 1024;

async function runCommand(command: string, message: ByteStream, env: Record<string, string>): Promise<Uint8Array> {
  const child = spawn("sh", ["-c", command], { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
  const output: Buffer[] = [];
  let outputSize = 0;
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => {
    outputSize += chunk.length;
    if (outputSize <= MOST_OUTPUT) output.push(chunk);
  });
  child.stderr.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2000)));
  // A command that does not read its input closes the pipe; its exit code tells whether that is a failure.
  child.stdin.on("error", () => undefined);
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
  try {
    for await (const chunk of message) {
      if (!child.stdin.writable) break;
      if (!child.stdin.write(chunk)) {
        await new Promise<void>((resolve) => {
          child.stdin.once("drain", resolve);
          child.stdin.once("close", resolve);
        });
      }
    }
  } catch (e) {
    child.kill();
    throw e;
  }
  child.stdin.end();
  const code = await ended;
  if (code !== 0 || outputSize === 0 || outputSize > MOST_OUTPUT) {
    throw new OtaError("ANDROID_SIGNER", {
      what: "the signing command failed",
      where: command,
      expected: "exit code 0 and a raw signature on standard output",
      found: errors.trim() === "" ? `exit code ${code}, ${outputSize} bytes` : errors.trim().slice(-500),
    });
  }
  return new Uint8Array(Buffer.concat(output));
}

/**
 * A signer that runs `sh -c command`: the message comes on standard input, the signature is expected on standard output (RSA
 * block, or ECDSA as DER), as `openssl dgst -sha256 -sign KEY` writes it. The variable `OTAFORGE_SIGN_HASH` says `sha1` or
 * `sha256`. Its result is checked by whoever verifies the finished package.
 * @throws OtaError ANDROID_KEY
 */
export async function signerFromCommand(command: string, certificatePath: string): Promise<PackageSigner> {
  const { facts } = await readCertificate(certificatePath);
  return {
    ...facts,
    sign: (message, hash = facts.hash) => runCommand(command, message, { OTAFORGE_SIGN_HASH: hash }),
  };
}
