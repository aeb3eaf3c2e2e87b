/** The families, asked in an order in which no package can be taken for another's. */
import { OtaError } from "../core/errors.ts";
import { toHex } from "../core/bytes.ts";
import type { Family, FamilyName, PackageInput } from "./family.ts";

const LOADERS: Readonly<Record<FamilyName, () => Promise<Family>>> = {
  k230: async () => (await import("./families/k230.ts")).k230Family,
  android: async () => (await import("./families/android.ts")).androidFamily,
  sigmastar: async () => (await import("./families/sigmastar.ts")).sigmastarFamily,
};

export const FAMILY_NAMES = Object.keys(LOADERS) as readonly FamilyName[];

export async function loadFamily(name: FamilyName): Promise<Family> {
  return LOADERS[name]();
}

/** The family whose package this is. @throws OtaError PACKAGE_UNKNOWN */
export async function detectFamily(input: PackageInput): Promise<Family> {
  const tried: string[] = [];
  for (const name of FAMILY_NAMES) {
    const family = await loadFamily(name);
    if (await family.detect(input)) return family;
    tried.push(family.what);
  }
  throw new OtaError("PACKAGE_UNKNOWN", {
    what: "no package of a known family, or damaged in its very beginning",
    where: input.name,
    expected: tried.join("; "),
    found: input.head.length === 0 ? "an empty file" : `bytes ${toHex(input.head.subarray(0, 16))}`,
  });
}

/** The verb of a family. @throws OtaError UNSUPPORTED when the family does not have it */
export function verbOf<K extends keyof Family>(family: Family, verb: K): NonNullable<Family[K]> {
  const body = family[verb];
  if (body === undefined || body === null) {
    throw new OtaError("UNSUPPORTED", `${verb} is not available for ${family.name} packages`);
  }
  return body;
}

/** Whether a family's packages carry the vendor's own signature; the others are vouched for by a manifest. */
export function signsItself(family: Family): boolean {
  return family.name === "android";
}
