/**
 * The signature block of a package and of its JAR part: CMS SignedData, version 1, detached, one signer without signed
 * attributes, certificate included, the signature value last (formats/android.md 5.1).
 */
import * as asn1 from "asn1js";
import { equalBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { PackageSigner, SignatureHash } from "./signer.ts";

const OID = Object.freeze({
  signedData: "1.2.840.113549.1.7.2",
  data: "1.2.840.113549.1.7.1",
  sha1: "1.3.14.3.2.26",
  sha256: "2.16.840.1.101.3.4.2.1",
  rsa: "1.2.840.113549.1.1.1",
  rsaSha256: "1.2.840.113549.1.1.11",
  ecdsaSha256: "1.2.840.10045.4.3.2",
  ecdsaSha1: "1.2.840.10045.4.1",
});

/** Signature algorithms of certificates, and the hash a package signed with them uses; MD5 counts as SHA-1. */
const CERTIFICATE_HASHES: Readonly<Record<string, SignatureHash>> = Object.freeze({
  "1.2.840.113549.1.1.4": "sha1", // md5WithRSAEncryption
  "1.2.840.113549.1.1.5": "sha1", // sha1WithRSAEncryption
  "1.2.840.113549.1.1.11": "sha256", // sha256WithRSAEncryption
  "1.2.840.10045.4.3.2": "sha256", // ecdsa-with-SHA256
});

const SHORT = { tagClass: 3 } as const;

function bad(what: string, found?: string): OtaError {
  return new OtaError("ANDROID_KEY", { what, ...(found === undefined ? {} : { found }) });
}

/** The parts of a certificate that a signature block names. */
interface CertificateParts {
  readonly whole: asn1.Sequence;
  readonly issuer: asn1.AsnType;
  readonly serial: asn1.AsnType;
  readonly notBefore: Date;
  readonly signatureAlgorithm: string;
}

function parse(der: Uint8Array): CertificateParts {
  const { result, offset } = asn1.fromBER(der);
  if (offset !== der.length || !(result instanceof asn1.Sequence)) throw bad("the certificate is no X.509 certificate");
  const [tbs, algorithm] = result.valueBlock.value;
  if (!(tbs instanceof asn1.Sequence) || !(algorithm instanceof asn1.Sequence)) throw bad("the certificate is damaged");
  const oid = algorithm.valueBlock.value[0];
  const fields = tbs.valueBlock.value;
  // The version is optional and tagged; serial number, algorithm, issuer, validity follow.
  const first = fields[0]?.idBlock.tagClass === SHORT.tagClass ? 1 : 0;
  const [serial, , issuer, validity] = fields.slice(first);
  if (
    !(serial instanceof asn1.Integer) ||
    !(validity instanceof asn1.Sequence) ||
    issuer === undefined ||
    !(oid instanceof asn1.ObjectIdentifier)
  ) {
    throw bad("the certificate is damaged");
  }
  const time = validity.valueBlock.value[0];
  if (!(time instanceof asn1.UTCTime) && !(time instanceof asn1.GeneralizedTime))
    throw bad("the certificate is damaged");
  if (!equalBytes(new Uint8Array(result.toBER()), der)) throw bad("the certificate is not in canonical form (DER)");
  return { whole: result, issuer, serial, notBefore: time.toDate(), signatureAlgorithm: oid.valueBlock.toString() };
}

/** What a package signed with a certificate depends on. */
export interface CertificateFacts {
  readonly hash: SignatureHash;
  readonly notBefore: Date;
}

/** @throws OtaError ANDROID_KEY when it is no certificate, or recovery does not know its hash */
export function certificateFacts(der: Uint8Array): CertificateFacts {
  const { signatureAlgorithm, notBefore } = parse(der);
  const hash = CERTIFICATE_HASHES[signatureAlgorithm];
  if (hash === undefined) {
    throw bad("the certificate is signed with an algorithm that recovery does not know", signatureAlgorithm);
  }
  return { hash, notBefore };
}

function oid(value: string): asn1.ObjectIdentifier {
  return new asn1.ObjectIdentifier({ value });
}

function algorithm(value: string, withNull = true): asn1.Sequence {
  return new asn1.Sequence({ value: withNull ? [oid(value), new asn1.Null()] : [oid(value)] });
}

/** The DER block around a signature value. */
export function encodeSignatureBlock(signer: Omit<PackageSigner, "sign">, signature: Uint8Array): Uint8Array {
  const { whole, issuer, serial } = parse(signer.certificate);
  // SHA-1 has its historical NULL, SHA-256 has no parameters (RFC 5754 section 2).
  const digest = (): asn1.Sequence => (signer.hash === "sha1" ? algorithm(OID.sha1) : algorithm(OID.sha256, false));
  const signatureAlgorithm =
    signer.keyType === "rsa"
      ? algorithm(signer.hash === "sha1" ? OID.rsa : OID.rsaSha256)
      : algorithm(signer.hash === "sha1" ? OID.ecdsaSha1 : OID.ecdsaSha256, false);
  const signerInfo = new asn1.Sequence({
    value: [
      new asn1.Integer({ value: 1 }),
      new asn1.Sequence({ value: [issuer, serial] }),
      digest(),
      signatureAlgorithm,
      new asn1.OctetString({ valueHex: signature }),
    ],
  });
  const signedData = new asn1.Sequence({
    value: [
      new asn1.Integer({ value: 1 }),
      new asn1.Set({ value: [digest()] }),
      new asn1.Sequence({ value: [oid(OID.data)] }),
      new asn1.Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [whole] }),
      new asn1.Set({ value: [signerInfo] }),
    ],
  });
  const content = new asn1.Sequence({
    value: [oid(OID.signedData), new asn1.Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [signedData] })],
  });
  return new Uint8Array(content.toBER());
}
