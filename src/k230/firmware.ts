/**
 * The firmware header in front of rtt, rtapp, uboot and spl (specification section 7): types 0, 1 and 2 are read and, where
 * keys are given, verified and decrypted; type 0 is written.
 *
 * What a passed check is worth: type 0 is integrity only, anyone can recompute it; with type 2 the signature covers the GCM
 * tag, so authenticity rests on the AES key staying secret. Not handled: the boot ROM's own rules for the first stage beyond
 * its fixed IVs.
 */
import { concatBytes, equalBytes, hexOffset, readU32, toHex, writeU32 } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import {
  FIRMWARE_HEADER,
  FIRMWARE_HEADER_SIZE,
  FIRMWARE_MAGIC,
  FIRMWARE_TYPE_0,
  FIRMWARE_TYPE_1,
  FIRMWARE_TYPE_2,
} from "./layouts.ts";
import { verifySm2 } from "./sm2.ts";

/** The primitives firmware needs; `firmware.node.ts` has Node's. All take and give whole arrays. */
export interface FirmwareCrypto {
  readonly sha256: (...parts: readonly Uint8Array[]) => Uint8Array;
  readonly sm3: (...parts: readonly Uint8Array[]) => Uint8Array;
  /** RSA PKCS#1 v1.5 with SHA-256. `modulus` big-endian, 256 bytes. */
  rsaVerify(key: { modulus: Uint8Array; exponent: number }, message: Uint8Array, signature: Uint8Array): boolean;
  /** AES-256-GCM without associated data; undefined when the tag does not fit. */
  aesGcmDecrypt(key: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array): Uint8Array | undefined;
  /** SM4-CBC without padding; undefined when the length is no multiple of 16. */
  sm4CbcDecrypt(key: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined;
}

/** What the device has burnt in (OTP), as far as it is known. */
export interface FirmwareTrust {
  /** SHA-256 of modulus and exponent, slot 8. */
  readonly rsaKeyHash?: Uint8Array;
  /** AES-256 key, slot 3. */
  readonly aesKey?: Uint8Array;
  /** SM3 of id length, id and public key, slot 9. */
  readonly sm2KeyHash?: Uint8Array;
  /** SM4 key, slot 5. */
  readonly sm4Key?: Uint8Array;
  /** Lowest version word accepted; 0 when nothing is burnt. */
  readonly versionFloor?: number;
  /** Bit 0 of the misc word: type 0 is refused. */
  readonly requireEncryption?: boolean;
  /** Spl, checked by the boot ROM: the IV is fixed and not stored. */
  readonly firstStage?: boolean;
}

export interface FirmwareInfo {
  readonly cryptoType: number;
  /** Length of the payload behind the 528 bytes. */
  readonly length: number;
  /** Type 0: the digest in the header. */
  readonly sha256?: Uint8Array;
  /** Type 2. */
  readonly rsa?: { readonly modulus: Uint8Array; readonly exponent: number; readonly signature: Uint8Array };
  /** Type 1. */
  readonly sm2?: {
    readonly id: Uint8Array;
    readonly idLength: number;
    readonly x: Uint8Array;
    readonly y: Uint8Array;
    readonly r: Uint8Array;
    readonly s: Uint8Array;
  };
}

const BOOT_ROM_AES_IV = Uint8Array.of(0x9f, 0xf1, 0x85, 0x63, 0xb9, 0x78, 0xec, 0x28, 0x1b, 0x3f, 0x27, 0x94);
const BOOT_ROM_SM4_IV = Uint8Array.from({ length: 16 }, (_, i) => i);
/** What the vendor's SM2 signer hashes as id length, whatever the id is. */
const VENDOR_ID_BITS = 128;

export function looksLikeFirmware(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && readU32(bytes, 0) === FIRMWARE_MAGIC;
}

function damaged(what: string, more: { expected?: string | number; found?: string | number } = {}): OtaError {
  return new OtaError("K230_BAD_FIRMWARE", { what, ...more });
}

/** The header's fields. @throws OtaError LAYOUT_TRUNCATED, K230_BAD_FIRMWARE for a wrong magic or an unknown type */
export function decodeFirmwareHeader(bytes: Uint8Array): FirmwareInfo {
  const { magic, length, cryptoType, verification } = FIRMWARE_HEADER.decode(bytes);
  if (magic !== FIRMWARE_MAGIC) {
    throw damaged("no firmware header", { expected: hexOffset(FIRMWARE_MAGIC), found: hexOffset(magic) });
  }
  if (cryptoType === 0) return { cryptoType, length, sha256: FIRMWARE_TYPE_0.decode(verification).sha256 };
  if (cryptoType === 1) {
    const { idLength, id, x, y, r, s } = FIRMWARE_TYPE_1.decode(verification);
    return { cryptoType, length, sm2: { idLength, id, x, y, r, s } };
  }
  if (cryptoType === 2) {
    const { modulus, exponent, signature } = FIRMWARE_TYPE_2.decode(verification);
    return { cryptoType, length, rsa: { modulus, exponent, signature } };
  }
  throw damaged("unknown crypto type of firmware", { expected: "0, 1 or 2", found: cryptoType });
}

export interface FirmwareReport extends FirmwareInfo {
  /** Everything that was checked fits. */
  readonly ok: boolean;
  /** Nothing was left unchecked for want of a key. */
  readonly complete: boolean;
  /** First thing that does not fit. */
  readonly problem?: OtaError;
  /** Checks that had to be left out, in words. */
  readonly unchecked: readonly string[];
  /** Hex of the hash that identifies the signer's key (types 1 and 2). */
  readonly keyHash?: string;
  /** The version word, where it could be read. */
  readonly version?: number;
  /** The image behind the version word, where it could be read. */
  readonly image?: Uint8Array;
}

interface Opened {
  plaintext?: Uint8Array;
  keyHash?: string;
  problem?: OtaError;
  unchecked: string[];
}

/**
 * Checks a firmware as the device does: digest or signature, key, decryption, version floor. Never throws for damaged bytes.
 * @param bytes header and payload; bytes behind the payload are ignored
 */
export function verifyFirmware(bytes: Uint8Array, crypto: FirmwareCrypto, trust: FirmwareTrust = {}): FirmwareReport {
  let info: FirmwareInfo = { cryptoType: 0, length: 0 };
  try {
    info = decodeFirmwareHeader(bytes);
  } catch (e) {
    if (!(e instanceof OtaError)) throw e;
    return { ...info, ok: false, complete: true, problem: e, unchecked: [] };
  }
  const payload = bytes.subarray(FIRMWARE_HEADER_SIZE, FIRMWARE_HEADER_SIZE + info.length);
  if (payload.length < info.length) {
    const problem = damaged("firmware payload is cut short", { expected: info.length, found: payload.length });
    return { ...info, ok: false, complete: true, problem, unchecked: [] };
  }
  const opened = open(info, payload, crypto, trust);
  const { plaintext } = opened;
  const version = plaintext !== undefined && plaintext.length >= 4 ? readU32(plaintext, 0) : undefined;
  const problem = opened.problem ?? checkVersion(plaintext, version, trust.versionFloor);
  return {
    ...info,
    ok: problem === undefined,
    complete: opened.unchecked.length === 0,
    unchecked: opened.unchecked,
    ...(opened.keyHash === undefined ? {} : { keyHash: opened.keyHash }),
    ...(problem === undefined ? {} : { problem }),
    ...(version === undefined ? {} : { version }),
    ...(plaintext === undefined || version === undefined ? {} : { image: plaintext.subarray(4) }),
  };
}

function checkVersion(plaintext: Uint8Array | undefined, version: number | undefined, floor = 0): OtaError | undefined {
  if (plaintext === undefined) return undefined;
  if (version === undefined) return damaged("firmware is too short for its version word", { found: plaintext.length });
  if (version >= floor) return undefined;
  return new OtaError("K230_FIRMWARE_VERSION", {
    what: "firmware is older than the version floor",
    expected: `at least ${floor}`,
    found: version,
  });
}

function open(info: FirmwareInfo, payload: Uint8Array, crypto: FirmwareCrypto, trust: FirmwareTrust): Opened {
  if (info.sha256 !== undefined) {
    const found = crypto.sha256(payload);
    if (trust.requireEncryption === true) {
      const problem = new OtaError("K230_FIRMWARE_UNTRUSTED", "the device refuses firmware without encryption");
      return { plaintext: payload, problem, unchecked: [] };
    }
    if (equalBytes(found, info.sha256)) return { plaintext: payload, unchecked: [] };
    const problem = damaged("firmware payload does not match its SHA-256", {
      expected: toHex(info.sha256),
      found: toHex(found),
    });
    return { problem, plaintext: payload, unchecked: [] };
  }
  if (info.rsa !== undefined) return openType2(info.rsa, payload, crypto, trust);
  return openType1(info.sm2 as NonNullable<FirmwareInfo["sm2"]>, payload, crypto, trust);
}

function untrusted(what: string, more: { expected?: string; found?: string } = {}): OtaError {
  return new OtaError("K230_FIRMWARE_UNTRUSTED", { what, ...more });
}

function checkKey(hash: Uint8Array, expected: Uint8Array | undefined, unchecked: string[]): OtaError | undefined {
  if (expected === undefined) {
    unchecked.push("the signer's key: no hash of it was given");
    return undefined;
  }
  if (equalBytes(hash, expected)) return undefined;
  return untrusted("firmware is signed by another key", { expected: toHex(expected), found: toHex(hash) });
}

function openType2(
  rsa: NonNullable<FirmwareInfo["rsa"]>,
  payload: Uint8Array,
  crypto: FirmwareCrypto,
  trust: FirmwareTrust,
): Opened {
  const ivSize = trust.firstStage === true ? 0 : 12;
  if (payload.length < ivSize + 16) return { problem: damaged("firmware payload has no GCM tag"), unchecked: [] };
  const unchecked: string[] = [];
  const exponent = new Uint8Array(4);
  writeU32(exponent, 0, rsa.exponent);
  const hash = crypto.sha256(rsa.modulus, exponent);
  const keyHash = toHex(hash);
  const tag = payload.subarray(payload.length - 16);
  const iv = ivSize === 0 ? BOOT_ROM_AES_IV : payload.subarray(0, ivSize);
  const wrongKey = checkKey(hash, trust.rsaKeyHash, unchecked);
  if (wrongKey !== undefined) return { problem: wrongKey, keyHash, unchecked };
  if (!crypto.rsaVerify(rsa, tag, rsa.signature)) {
    return { problem: untrusted("RSA signature of the firmware does not fit"), keyHash, unchecked };
  }
  if (trust.aesKey === undefined) {
    unchecked.push("the content and its version: no AES key was given");
    return { keyHash, unchecked };
  }
  const plaintext = crypto.aesGcmDecrypt(trust.aesKey, iv, payload.subarray(ivSize, payload.length - 16), tag);
  if (plaintext === undefined) {
    return { problem: untrusted("firmware does not decrypt to what its GCM tag says"), keyHash, unchecked };
  }
  return { plaintext, keyHash, unchecked };
}

function openType1(
  sm2: NonNullable<FirmwareInfo["sm2"]>,
  payload: Uint8Array,
  crypto: FirmwareCrypto,
  trust: FirmwareTrust,
): Opened {
  const ivSize = trust.firstStage === true ? 0 : 16;
  if (payload.length < ivSize + 16) return { problem: damaged("firmware payload has no SM4 block"), unchecked: [] };
  if (sm2.idLength > sm2.id.length) {
    return { problem: damaged("SM2 id is longer than its field", { found: sm2.idLength }), unchecked: [] };
  }
  const unchecked: string[] = [];
  const idLength = new Uint8Array(4);
  writeU32(idLength, 0, sm2.idLength);
  const hash = crypto.sm3(idLength, sm2.id, sm2.x, sm2.y);
  const keyHash = toHex(hash);
  const wrongKey = checkKey(hash, trust.sm2KeyHash, unchecked);
  if (wrongKey !== undefined) return { problem: wrongKey, keyHash, unchecked };
  const id = sm2.id.subarray(0, sm2.idLength);
  const fits = [VENDOR_ID_BITS, 8 * sm2.idLength].some((idBits) =>
    verifySm2({ ...sm2, id, idBits }, [payload], crypto.sm3),
  );
  if (!fits) return { problem: untrusted("SM2 signature of the firmware does not fit"), keyHash, unchecked };
  if (trust.sm4Key === undefined) {
    unchecked.push("the content and its version: no SM4 key was given");
    return { keyHash, unchecked };
  }
  const iv = ivSize === 0 ? BOOT_ROM_SM4_IV : payload.subarray(0, ivSize);
  const plaintext = crypto.sm4CbcDecrypt(trust.sm4Key, iv, payload.subarray(ivSize));
  if (plaintext === undefined)
    return { problem: damaged("SM4 content is no multiple of 16 bytes"), keyHash, unchecked };
  return { plaintext, keyHash, unchecked };
}

/** A firmware of type 0: header, version word, image. */
export function encodeFirmware(image: Uint8Array, version: number, sha256: FirmwareCrypto["sha256"]): Uint8Array {
  const word = new Uint8Array(4);
  writeU32(word, 0, version);
  const verification = FIRMWARE_TYPE_0.encode({ sha256: sha256(word, image), zero: new Uint8Array(484) });
  const header = FIRMWARE_HEADER.encode({
    magic: FIRMWARE_MAGIC,
    length: image.length + 4,
    cryptoType: 0,
    verification,
  });
  return concatBytes(header, word, image);
}
