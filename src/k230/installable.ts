/** Which parts of an image an A/B update takes, by the safe rules and by the driver's. */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import { checkKdimgLayout, MAX_PATCH_SIZE } from "./kdimg.ts";
import type { ContentRange, Kdimg, KdimgPart } from "./kdimg.ts";
import { KDIMG_CONTENT_START } from "./layouts.ts";

export type InstallPart = KdimgPart & {
  readonly name: "rtt" | "rtapp";
  /** What is in the partition afterwards: the content itself, or what its patch makes. */
  readonly result: { readonly size: number; readonly sha256: Uint8Array };
};

/** A part as an update takes it. */
export function asInstallPart(part: KdimgPart, name: "rtt" | "rtapp"): InstallPart {
  const { delta } = part;
  const result =
    delta === undefined
      ? { size: part.contentSize, sha256: part.sha256 }
      : { size: delta.resultSize, sha256: delta.resultSha256 };
  return { ...part, name, result };
}

export interface Installable {
  /** rtt first, then rtapp where it is there. */
  readonly parts: readonly InstallPart[];
  /** All contents in file order. */
  readonly ranges: readonly ContentRange[];
}

/**
 * The parts the safe profile installs.
 * @throws OtaError KDIMG_NOTHING_TO_INSTALL, KDIMG_EMPTY_PART, KDIMG_PARTIAL and those of checkKdimgLayout
 */
export function checkInstallable(image: Kdimg, options: { readonly allowPartial?: boolean } = {}): Installable {
  const ranges = checkKdimgLayout(image);
  const find = (name: "rtt" | "rtapp"): InstallPart | undefined => {
    const part = image.parts.find((p) => p.name === name);
    return part === undefined ? undefined : asInstallPart(part, name);
  };
  const [rtt, rtapp] = [find("rtt"), find("rtapp")];
  if (rtt === undefined) {
    throw new OtaError("KDIMG_NOTHING_TO_INSTALL", {
      what: "the image has no part rtt, without which an update switches nothing",
      expected: "parts rtt and rtapp",
      found: image.parts.map((p) => printable(p.name)).join(", "),
    });
  }
  const parts = rtapp === undefined ? [rtt] : [rtt, rtapp];
  for (const part of parts) {
    if (part.contentSize === 0 || part.result.size === 0)
      throw new OtaError("KDIMG_EMPTY_PART", { what: "part has no content", where: part.name });
    if (part.delta !== undefined && part.contentSize > MAX_PATCH_SIZE) {
      throw new OtaError("KDIMG_BAD_DELTA", {
        what: "patch is larger than an installer keeps in memory",
        where: part.name,
        expected: `at most ${MAX_PATCH_SIZE} bytes`,
        found: part.contentSize,
      });
    }
  }
  if (rtapp === undefined && options.allowPartial !== true) {
    throw new OtaError("KDIMG_PARTIAL", {
      what: "the image has no part rtapp: the new system would run with the application that happens to lie in its slot",
      hint: "Pack both, or give --allow-partial.",
    });
  }
  return { parts, ranges };
}

/** What the driver does with one part. */
export interface DriverView {
  readonly name: string;
  readonly taken: boolean;
  readonly why: string;
}

/** What the kernel driver would take of an image and what it would ignore, on a card that has all partitions. */
export function driverView({ header, parts }: Kdimg): DriverView[] {
  const lastRtt = parts.map((p) => p.name).lastIndexOf("rtt");
  const lastRtapp = parts.map((p) => p.name).lastIndexOf("rtapp");
  const refused = parts.some((p) => p.delta !== undefined);
  return parts.map(({ name, contentOffset }, i) => {
    const say = (taken: boolean, why: string): DriverView => ({ name, taken, why });
    if (refused) return say(false, "a delta image: the driver does not know the magic of its entries and refuses it");
    if (header.version < 2) return say(false, "the driver reads version 2 entries only and finds no name it knows");
    if (name !== "rtt" && name !== "rtapp") return say(false, "unknown name");
    if (i !== (name === "rtt" ? lastRtt : lastRtapp)) return say(false, "a later part has the same name");
    if (lastRtt < 0) return say(false, "without rtt the driver drops rtapp and reports success");
    if (contentOffset < KDIMG_CONTENT_START)
      return say(false, "content begins before 64 KiB: the driver refuses the image");
    return say(true, `written to ${name} of the other slot`);
  });
}
