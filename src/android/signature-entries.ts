/** Names of the entries that signing leaves in a package (formats/android.md section 5.1). */

/** The signer's certificate, the PEM file byte for byte. */
export const OTACERT_NAME = "META-INF/com/android/otacert";
export const MANIFEST_NAME = "META-INF/MANIFEST.MF";
/** The JAR part's signature block, a CMS structure. */
export const JAR_BLOCK = /^META-INF\/[^/]*\.(RSA|EC|DSA)$/i;
/** The JAR part's digests of the manifest. */
export const JAR_DIGESTS = /^META-INF\/[^/]*\.SF$/i;

/** Whether signing made the entry. */
export function isSignatureEntry(name: string): boolean {
  return name === OTACERT_NAME || name === MANIFEST_NAME || JAR_BLOCK.test(name) || JAR_DIGESTS.test(name);
}
