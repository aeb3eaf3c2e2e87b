/** Who signs an Android package, as the command line said it. */
import { existsSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { isPublicTestKey, readKeys, verifyPackage, type PackageSigner } from "../android/index.ts";
import { signerFromCommand, signerFromFiles } from "../android/signing/keys.node.ts";
import { OtaError } from "../core/errors.ts";
import type { Cancel, ProgressSink, RandomReader } from "../core/ports.ts";
import { nodeCodecs, nodeDigests } from "../device/index.ts";

export interface SigningRequest {
  /** Leave the package unsigned. */
  readonly none: boolean;
  /** Key path without suffix; absent: the build's default key. */
  readonly key?: string;
  readonly privateKeySuffix?: string;
  readonly publicKeySuffix?: string;
  readonly password?: string;
  /** Command that signs; needs `certificate` or the certificate beside `key`. */
  readonly command?: string;
  readonly certificate?: string;
  /** Folder searched first for programs of the command. */
  readonly searchPath?: string;
}

/** `keys/release.pk8` and `keys/release.x509.pem` name the same pair as `keys/release`. */
function keyPath(path: string): string {
  return path.replace(/\.(pk8|x509\.pem|pem)$/, "");
}

/** The signer; undefined when the package stays unsigned. @throws OtaError ANDROID_KEY */
export async function openSigner(
  request: { readonly cwd: string; readonly signing: SigningRequest },
  defaultKey: string,
  progress: ProgressSink,
): Promise<PackageSigner | undefined> {
  const { none, command, certificate, searchPath, key, password, privateKeySuffix, publicKeySuffix } = request.signing;
  if (searchPath !== undefined) {
    const folder = resolve(request.cwd, searchPath);
    process.env["PATH"] = [join(folder, "bin"), folder, process.env["PATH"] ?? ""].join(delimiter);
  }
  if (none) return undefined;
  let signer: PackageSigner;
  const path = resolve(request.cwd, keyPath(key ?? defaultKey));
  if (command !== undefined) {
    const file =
      certificate === undefined ? `${path}${publicKeySuffix ?? ".x509.pem"}` : resolve(request.cwd, certificate);
    signer = await signerFromCommand(command, file);
  } else {
    if (key === undefined && !existsSync(`${path}${publicKeySuffix ?? ".x509.pem"}`)) {
      throw new OtaError("ANDROID_KEY", {
        what: "no signing key was named, and the build's default key is not on this machine",
        where: defaultKey,
        hint:
          "Name one with -k KEY (KEY.pk8 and KEY.x509.pem), or leave the package unsigned with --no_signing. " +
          "Make one with: openssl req -x509 -newkey rsa:2048 -sha256 -days 10000 -nodes -keyout KEY.pem -out KEY.x509.pem -subj /CN=release",
      });
    }
    signer = await signerFromFiles({
      path,
      ...(privateKeySuffix === undefined ? {} : { privateKeySuffix }),
      ...(publicKeySuffix === undefined ? {} : { publicKeySuffix }),
      ...(password === undefined ? {} : { password }),
    });
  }
  const keys = await readKeys(signer.certificate, { name: "certificate", codecs: nodeCodecs });
  if (keys.some((one) => isPublicTestKey(one, nodeDigests))) {
    progress.note(
      "warning",
      "this is Android's public test key: everyone can sign packages that devices with it accept",
    );
  }
  return signer;
}

/** Reads the finished package as a device would: it must be accepted with the signer's own certificate. */
export async function verifyOwn(
  reader: RandomReader,
  signer: PackageSigner,
  ports: { readonly cancel: Cancel },
): Promise<void> {
  const keys = await readKeys(signer.otacert, { name: "the signing certificate", codecs: nodeCodecs });
  const verdict = await verifyPackage(reader, keys, {
    digests: nodeDigests,
    codecs: nodeCodecs,
    cancel: ports.cancel,
  });
  if (!verdict.accepted) {
    throw new OtaError("ANDROID_SIGNER", {
      what: "the signature does not belong to the certificate",
      found: verdict.reason ?? "rejected",
      hint: "Nothing was written. Does the signing command use the key of this certificate?",
    });
  }
}
