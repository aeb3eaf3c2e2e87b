/** Self-signed certificates for tests that need one of their own, whatever its dates. */
import { webcrypto } from "node:crypto";
import * as asn1js from "asn1js";
import * as pkijs from "pkijs";

export interface TestCertificate {
  /** PKCS #8 private key, PEM. */
  readonly key: string;
  /** X.509 certificate, PEM. */
  readonly certificate: string;
}

function pem(label: string, der: ArrayBuffer): string {
  const lines = Buffer.from(der)
    .toString("base64")
    .match(/.{1,64}/g) as string[];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** An RSA key of 2048 bits and its certificate, SHA-256, valid between the two dates. */
export async function selfSigned(name: string, from: Date, to: Date): Promise<TestCertificate> {
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: Uint8Array.of(1, 0, 1),
    hash: "SHA-256",
  };
  const { privateKey, publicKey } = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const engine = new pkijs.CryptoEngine({ name: "node", crypto: webcrypto });
  const certificate = new pkijs.Certificate({ version: 2, serialNumber: new asn1js.Integer({ value: 1 }) });
  const commonName = new pkijs.AttributeTypeAndValue({
    type: "2.5.4.3",
    value: new asn1js.Utf8String({ value: name }),
  });
  certificate.issuer.typesAndValues.push(commonName);
  certificate.subject.typesAndValues.push(commonName);
  certificate.notBefore.value = from;
  certificate.notAfter.value = to;
  await certificate.subjectPublicKeyInfo.importKey(publicKey, engine);
  await certificate.sign(privateKey, "SHA-256", engine);
  return {
    key: pem("PRIVATE KEY", await webcrypto.subtle.exportKey("pkcs8", privateKey)),
    certificate: pem("CERTIFICATE", certificate.toSchema(true).toBER(false)),
  };
}
