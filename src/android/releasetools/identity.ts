/**
 * Who a build is for, as the tools of 5.0 and later say it: one device with a fingerprint, or, with
 * `oem_fingerprint_properties` in META/misc_info.txt, devices whose names stand on an OEM partition. For those the values are
 * given when the package is made, and the script compares them with /oem/oem.prop.
 */
import { OtaError } from "../../core/errors.ts";
import * as write from "../block/script.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { quote, type Script } from "./script.ts";

/** Values of the OEM partition the package is for. */
export interface OemSettings {
  readonly values: ReadonlyMap<string, string>;
  /** The device has /oem mounted already: the script does not. */
  readonly noMount?: boolean;
}

export interface Identity {
  readonly device: string;
  readonly fingerprint: string;
  /** What stands for the fingerprint in checks, where its first part comes from the OEM partition. */
  readonly thumbprint?: string;
  /** Properties that the OEM partition must have. Empty for ordinary builds. */
  readonly oem: readonly (readonly [name: string, value: string])[];
}

/** @throws OtaError ANDROID_NOT_POSSIBLE when the build needs OEM values that are not given */
export function identityOf(build: TargetFiles, oem: OemSettings | undefined): Identity {
  const names = (build.info.values.get("oem_fingerprint_properties") ?? "").split(/\s+/).filter((n) => n !== "");
  if (names.length === 0) {
    return { device: build.prop("ro.product.device"), fingerprint: build.prop("ro.build.fingerprint"), oem: [] };
  }
  const values = names.map((name) => {
    const value = oem?.values.get(name);
    if (value === undefined || value === "") {
      throw new OtaError("ANDROID_NOT_POSSIBLE", {
        what: "the build takes this property from the OEM partition, and its value is not given",
        where: name,
        hint: "Give a file with the lines of oem.prop: -o FILE.",
      });
    }
    return [name, value] as const;
  });
  const given = new Map(values);
  const get = (name: string): string => given.get(name) ?? build.prop(name);
  const thumbprint = build.prop("ro.build.thumbprint");
  const device = get("ro.product.device");
  const fingerprint = `${get("ro.product.brand")}/${get("ro.product.name")}/${device}:${thumbprint}`;
  return { device, fingerprint, thumbprint, oem: values };
}

/** Mounts the OEM partition, which later checks read. */
export function mountOem(script: Script, identity: Identity, oem: OemSettings | undefined, flags: string): void {
  if (identity.oem.length > 0 && oem?.noMount !== true) script.mount("/oem", flags);
}

/** The device, or what its OEM partition must say. */
export function assertDevice(script: Script, identity: Identity): void {
  if (identity.oem.length === 0) {
    write.assertDevice(script, identity.device);
    return;
  }
  for (const [name, value] of identity.oem) {
    const read = `file_getprop("/oem/oem.prop", ${quote(name)})`;
    const message = `E3000: This package expects the value "${value}" for "${name}" on the OEM partition; this has value "`;
    script.append(`${read} == ${quote(value)} || abort(${quote(message)} + ${read} + "\\".");`);
  }
}

/** One of the builds must be on the device. `target` absent: only the source, because a second run is not possible. */
export function assertBuild(script: Script, source: Identity, target: Identity | undefined): void {
  if (source.thumbprint === undefined) {
    write.assertFingerprint(script, [source.fingerprint, ...(target === undefined ? [] : [target.fingerprint])]);
    return;
  }
  const prints = [...(target?.thumbprint === undefined ? [] : [target.thumbprint]), source.thumbprint];
  const one = (p: string): string => `getprop("ro.build.thumbprint") == ${quote(p)}`;
  const message = `E3002: Package expects build thumbprint of ${prints.join(" or ")}; this device has `;
  script.append(
    `${prints.map(one).join(" ||\n    ")} ||\n    abort(${quote(message)} + getprop("ro.build.thumbprint") + ".");`,
  );
}

/** How an older build over a newer one was asked for; at most one of the two. */
export interface OrderOptions {
  /** User data is wiped, and the metadata say `ota-downgrade=yes`. */
  readonly downgrade?: boolean;
  /** The builds were made in the wrong order: the metadata state a time just after the source build's. */
  readonly overrideTimestamp?: boolean;
}

/**
 * An older build over a newer one has to be asked for, and only that. Gives the `post-timestamp` of the metadata.
 * @throws OtaError ANDROID_NOT_POSSIBLE
 */
export function checkOrder(
  source: TargetFiles,
  target: TargetFiles,
  options: OrderOptions,
  note: (level: "info" | "warning", text: string) => void,
): string {
  const stated = target.prop("ro.build.date.utc");
  const [before, after] = [Number(source.prop("ro.build.date.utc")), Number(stated)];
  const asked =
    options.downgrade === true
      ? "--downgrade"
      : options.overrideTimestamp === true
        ? "--override_timestamp"
        : undefined;
  if (asked !== undefined && !(after < before)) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: `${asked} was given, and the target build is not older than the source build`,
      where: "ro.build.date.utc",
      expected: `less than ${before}`,
      found: after,
    });
  }
  if (asked === undefined && after < before) {
    note(
      "warning",
      `the target build (${after}) is older than the source build (${before}): is --downgrade or --override_timestamp meant?`,
    );
  }
  return options.overrideTimestamp === true ? String(before + 1) : stated;
}
