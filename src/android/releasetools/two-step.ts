/**
 * Two-step packages (formats/android.md 2.8): the new recovery is written to /boot, booted, written to /recovery, booted
 * again, and only then the system changes. A text in the misc partition says how far it is.
 */
import { OtaError } from "../../core/errors.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { quote, type Script } from "./script.ts";

/** The pieces around a script's two halves. */
export interface TwoStep {
  /** Full: first boot's branches up to the installing one. */
  fullPrologue(script: Script): void;
  /** Full: the end of the installing branch, and the branch of the start. */
  fullEpilogue(script: Script): void;
  /** Incremental: the branch that writes /recovery, and the condition of the verifying one. */
  incrementalPrologue(script: Script): void;
  /** Incremental: the end of the verifying branch. */
  incrementalMiddle(script: Script): void;
  incrementalEpilogue(script: Script): void;
}

/**
 * The statements of a year: `get_stage` has one argument from 5.0 on, and the stages are named in comments.
 * @throws OtaError ANDROID_NOT_POSSIBLE when the build does not support it
 */
export function twoStep(target: TargetFiles, era: "4.4" | "7.1"): TwoStep {
  if (!target.info.multistage) {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "two-step packages not supported by this build",
      where: "META/misc_info.txt",
      expected: "multistage_support",
    });
  }
  const misc = needPartition(target.fstab, "/misc");
  if (misc.type !== "EMMC") {
    throw new OtaError("ANDROID_NOT_POSSIBLE", {
      what: "two-step packages need a /misc partition that is a block device",
      where: "recovery.fstab",
      found: misc.fsType,
    });
  }
  const device = quote(misc.device);
  const stage = era === "4.4" ? `get_stage(${device}, "stage")` : `get_stage(${device})`;
  const toSecond = `\nset_stage(${device}, "2/3");\nreboot_now(${device}, "");\n`;
  const toThird = `\nset_stage(${device}, "3/3");\nreboot_now(${device}, "recovery");\n`;
  const inStage = (script: Script, text: string): void => {
    if (era !== "4.4") script.comment(`Stage ${text}`);
  };
  const recoveryTo = (script: Script, mountPoint: string): void => script.writeRawImage(mountPoint, "recovery.img");
  return {
    fullPrologue(script) {
      script.append(`\nif ${stage} == "2/3" then\n`);
      inStage(script, "2/3");
      recoveryTo(script, "/recovery");
      script.append(`${toThird}else if ${stage} == "3/3" then\n`);
      inStage(script, "3/3");
    },
    fullEpilogue(script) {
      script.append(`\nset_stage(${device}, "");\n`);
      script.append("else\n");
      inStage(script, "1/3");
      recoveryTo(script, "/boot");
      script.append(`${toSecond}endif;\nendif;\n`);
    },
    incrementalPrologue(script) {
      script.append(`\nif ${stage} == "2/3" then\n`);
      inStage(script, "2/3");
      script.append("sleep(20);\n");
      recoveryTo(script, "/recovery");
      script.append(`${toThird}else if ${stage} != "3/3" then\n`);
      inStage(script, "1/3");
    },
    incrementalMiddle(script) {
      recoveryTo(script, "/boot");
      script.append(`${toSecond}else\n`);
      inStage(script, "3/3");
    },
    incrementalEpilogue(script) {
      script.append(`\nset_stage(${device}, "");\nendif;\nendif;\n`);
    },
  };
}
