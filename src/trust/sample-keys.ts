/**
 * Keys whose private half anyone can have: those of our own test data and of public specifications and source trees. Trusting
 * one is trusting everybody (mcuboot advisory GHSA-gcxh-546h-phg4), so they are refused by name.
 */

/** By the SHA-256 of the SubjectPublicKeyInfo, hex. */
const BY_KEY: ReadonlyMap<string, string> = new Map([
  ["fa487df41f961ee62e7840e4124572f0e4934933d3a46fb29170635b0a535580", "the test data key k1_e3_sha1"],
  ["e70c87755932afb004ff1fc323b4eef366eac6d676fa7063281f5c350d33f804", "the test data key k2_f4_sha1"],
  ["4c5e64e266047a604af2804ea4cf013d632b9dd857fd1754396a80a22f761529", "the test data key k3_e3_sha256"],
  ["52c838816347237000b7230962091d4a56feac31c97ab5d4e6dbd49473644f68", "the test data key k4_f4_sha256"],
  ["8e918779469439cfae95d4d68aa2f0dbb9be3f2cd690a7c4a3c93ac6300b8404", "the test data key k5_ec"],
  // Those of the Android sources' recovery tests, also the testkey's own without its certificate.
  ["ef57b690165cb561b5026922c00d2d6574e8b184fa7d161e076f06e06e6d35db", "Android's testkey"],
  ["877f425ef28072fd5580d593e30b78759c68648c3d1550be0600bb927856fc75", "Android's test key with exponent 65537"],
  ["f35dd08806aad43e7c79991da011ba0618207d29fd30e4e4a34836b801b3870d", "Android's EC test key"],
  ["06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9", "RFC 8032, test 1"],
  ["deb2ded39dc26fce0e6085b6fc34bf6b5941913bbfe2ea614113cff9e004c170", "RFC 8032, test 2"],
  ["8d39ba50abe50f77b6bb8ae7b6927aff7ffbeba35ad2837c0e51e82bcbcc60d5", "RFC 8032, test 3"],
  ["5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4", "RFC 6979, P-256"],
]);

/** By the SHA-256 of the certificate, hex: the keys that every Android source tree carries in build/target/product/security. */
const BY_CERTIFICATE: ReadonlyMap<string, string> = new Map([
  ["a40da80a59d170caa950cf15c18c454d47a39b26989d8b640ecd745ba71bf5dc", "Android's testkey"],
  ["c8a2e9bccf597c2fb6dc66bee293fc13f2fc47ec77bc6b2b0d52c11f51192ab8", "Android's platform test key"],
  ["28bbfe4a7b97e74681dc55c2fbb6ccb8d6c74963733f6af6ae74d8c3a6e879fd", "Android's shared test key"],
  ["465983f7791f2abeb43ea2cbdc7f21a8260b72bc08a55c839fc1a43bc741a81e", "Android's media test key"],
]);

/** The name of a known sample key, by its id and, where it came in one, its certificate's digest; both hex. */
export function sampleKeyName(keyId: string, certificateSha256?: string): string | undefined {
  return BY_KEY.get(keyId) ?? (certificateSha256 === undefined ? undefined : BY_CERTIFICATE.get(certificateSha256));
}

/** The name of a test certificate of Android's source tree, by its SHA-256, hex. */
export function androidTestCertificate(certificateSha256: string): string | undefined {
  return BY_CERTIFICATE.get(certificateSha256);
}
