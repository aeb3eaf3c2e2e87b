/** Keys and signatures by the platform's cryptography, and signers that keep the key elsewhere. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import { execFile } from "node:child_process";
import { OtaError } from "../core/errors.ts";
import { sampleKeyName } from "./sample-keys.ts";
import { SIGNATURE_SIZE, type PublicKey, type SignatureAlgorithm, type SignatureChecker, type Signer } from "./keys.ts";

/** Smallest RSA modulus that is accepted, bits. */
const LEAST_RSA_BITS = 2048;

function unusable(source: string, found: string): OtaError {
  return new OtaError("TRUST_KEY", {
    what: "not a key that can be used here",
    where: source,
    expected: "Ed25519, ECDSA P-256 or RSA of at least 2048 bits, in PEM",
    found,
  });
}

function algorithmOf(key: KeyObject, source: string): SignatureAlgorithm {
  const details = key.asymmetricKeyDetails;
  switch (key.asymmetricKeyType) {
    case "ed25519":
      return "ed25519";
    case "ec":
      if (details?.namedCurve === "prime256v1") return "ecdsa-p256";
      throw unusable(source, `EC curve ${details?.namedCurve ?? "unknown"}`);
    case "rsa":
      if ((details?.modulusLength ?? 0) >= LEAST_RSA_BITS) return "rsa";
      throw unusable(source, `RSA of ${details?.modulusLength ?? 0} bits`);
    default:
      throw unusable(source, key.asymmetricKeyType ?? "no asymmetric key");
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** @throws OtaError TRUST_KEY, TRUST_SAMPLE_KEY */
function describe(key: KeyObject, source: string, certificate?: Uint8Array): PublicKey {
  const spki = new Uint8Array(key.export({ type: "spki", format: "der" }));
  const id = sha256(spki);
  const sample = sampleKeyName(id, certificate === undefined ? undefined : sha256(certificate));
  if (sample !== undefined) {
    throw new OtaError("TRUST_SAMPLE_KEY", {
      what: "a sample key: its private half is public, so anyone can sign with it",
      where: source,
      found: sample,
      hint: "Make a key of your own with: otaforge keygen NAME",
    });
  }
  return { algorithm: algorithmOf(key, source), spki, id, source };
}

/**
 * Public keys of a PEM text: any number of `PUBLIC KEY` and `CERTIFICATE` blocks. Of a certificate only the key counts:
 * a device's clock may be wrong, so validity times are no reason to trust or to refuse.
 * @throws OtaError TRUST_KEY for a private key (it does not belong on a device), other blocks and none at all; TRUST_SAMPLE_KEY
 */
export function readPublicKeys(pem: string, source: string): PublicKey[] {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem))
    throw unusable(source, "a private key where a public one belongs");
  const blocks = pem.match(/-----BEGIN (PUBLIC KEY|CERTIFICATE)-----[\s\S]*?-----END \1-----/g) ?? [];
  if (blocks.length === 0) throw unusable(source, "no PEM block of a public key or certificate");
  return blocks.map((block) => {
    let key: KeyObject;
    let certificate: X509Certificate | undefined;
    try {
      certificate = block.includes("BEGIN CERTIFICATE") ? new X509Certificate(block) : undefined;
      key = certificate?.publicKey ?? createPublicKey(block);
    } catch (e) {
      throw unusable(source, e instanceof Error ? e.message : "unreadable");
    }
    return describe(key, source, certificate?.raw);
  });
}

/** A signer of a private key in PEM (PKCS#8, PKCS#1 or SEC1). @throws OtaError TRUST_KEY, TRUST_SAMPLE_KEY */
export function readSigner(pem: string, source: string): Signer {
  let secret: KeyObject;
  try {
    secret = createPrivateKey(pem);
  } catch {
    // The platform's message could quote the input; a key never gets into a message.
    throw unusable(source, "no private key, or one with a passphrase");
  }
  const key = describe(createPublicKey(secret), source);
  return {
    key,
    sign: async (message) => new Uint8Array(signWith(key.algorithm, secret, message)),
  };
}

function signWith(algorithm: SignatureAlgorithm, key: KeyObject, message: Uint8Array): Buffer {
  switch (algorithm) {
    case "ed25519":
      return sign(null, message, key);
    case "ecdsa-p256":
      return sign("sha256", message, { key, dsaEncoding: "ieee-p1363" });
    case "rsa":
      return sign("sha256", message, key);
  }
}

export const nodeSignatureChecker: SignatureChecker = {
  async check(key, message, signature) {
    const size = SIGNATURE_SIZE[key.algorithm];
    if (size !== undefined && signature.length !== size) return false;
    const object = createPublicKey({ key: Buffer.from(key.spki), format: "der", type: "spki" });
    try {
      switch (key.algorithm) {
        case "ed25519":
          return verify(null, message, object, signature);
        case "ecdsa-p256":
          return verify("sha256", message, { key: object, dsaEncoding: "ieee-p1363" }, signature);
        case "rsa":
          return verify("sha256", message, object, signature);
      }
    } catch {
      return false;
    }
  },
};

/** A new key pair in PEM: PKCS#8 and SPKI. */
export function generateKeys(algorithm: SignatureAlgorithm): { privatePem: string; publicPem: string } {
  const { privateKey, publicKey } =
    algorithm === "ed25519"
      ? generateKeyPairSync("ed25519")
      : algorithm === "ecdsa-p256"
        ? generateKeyPairSync("ec", { namedCurve: "prime256v1" })
        : generateKeyPairSync("rsa", { modulusLength: 3072 });
  return {
    privatePem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicPem: publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
}

/** The two integers of a DER `SEQUENCE { INTEGER r, INTEGER s }` as 64 bytes; undefined when it is none. */
function rawOfDer(der: Uint8Array): Uint8Array | undefined {
  const out = new Uint8Array(64);
  if (der[0] !== 0x30 || der[1] !== der.length - 2) return undefined;
  let at = 2;
  for (let i = 0; i < 2; i++) {
    const length = der[at + 1];
    if (der[at] !== 2 || length === undefined || length === 0 || at + 2 + length > der.length) return undefined;
    let number = der.subarray(at + 2, at + 2 + length);
    while (number.length > 0 && number[0] === 0) number = number.subarray(1);
    if (number.length > 32) return undefined;
    out.set(number, 32 * (i + 1) - number.length);
    at += 2 + length;
  }
  return at === der.length ? out : undefined;
}

/**
 * A signer that runs a command of the user's own (an HSM tool, a CI secret's wrapper) through `sh -c`: the message comes on
 * standard input, the raw signature is expected on standard output (ECDSA also as DER, which openssl writes).
 * Every signature is checked against `key` before it is used.
 */
export function commandSigner(command: string, key: PublicKey): Signer {
  return {
    key,
    async sign(message) {
      const output = await new Promise<Buffer>((resolve, reject) => {
        const child = execFile(
          "sh",
          ["-c", command],
          { encoding: "buffer", maxBuffer: 65_536 },
          (error, stdout, stderr) => {
            if (error === null) return resolve(stdout);
            reject(
              new OtaError("TRUST_SIGNER_FAILED", {
                what: "the signing command failed",
                where: command,
                found: stderr.toString().trim().slice(0, 500) || error.message,
              }),
            );
          },
        );
        // A command that does not read its input closes the pipe; its exit code tells whether that is a failure.
        child.stdin?.on("error", () => undefined);
        child.stdin?.end(message);
      });
      const raw = new Uint8Array(output);
      const signature = key.algorithm === "ecdsa-p256" && raw.length !== 64 ? (rawOfDer(raw) ?? raw) : raw;
      if (!(await nodeSignatureChecker.check(key, message, signature))) {
        throw new OtaError("TRUST_SIGNER_FAILED", {
          what: "the signing command's output is no signature of its input by the given public key",
          where: command,
          found: `${raw.length} bytes`,
        });
      }
      return signature;
    },
  };
}
