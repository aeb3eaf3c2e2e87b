/** Target files: what a build leaves behind. */
export {
  BOOT_HEADER,
  buildBootImage,
  readBootImage,
  type BootHeader,
  type BootImageInput,
} from "../images/boot-image.ts";
export type { FileTree, SymbolicLink, TreeEntry, TreeName } from "./file-tree.ts";
export type { FileMetadata } from "./filesystem-config.ts";
export { parseFstab, type Fstab, type FstabEntry } from "./fstab.ts";
export type { MiscInfo } from "./misc-info.ts";
export * from "./target-files.ts";
export { describeDifferences } from "./differences.ts";
