/** Structures of ext4 that a reader needs (kernel documentation, "ext4 Data Structures and Algorithms"). All numbers little-endian. */
import { layout, raw, u16, u32, u8 } from "../../core/layout.ts";
import type { LayoutValue } from "../../core/layout.ts";

export const SUPERBLOCK_OFFSET = 1024;
export const EXT4_MAGIC = 0xef53;

export const SUPERBLOCK = layout("ext4 superblock", 1024, {
  inodeCount: u32(0x00, { meaning: "inodes of the file system" }),
  blocksLow: u32(0x04, { meaning: "blocks of the file system", unit: "blocks" }),
  freeBlocksLow: u32(0x0c, { meaning: "blocks that are free", unit: "blocks" }),
  firstDataBlock: u32(0x14, { meaning: "1 where blocks have 1024 bytes, else 0" }),
  blockShift: u32(0x18, { meaning: "block size is 1024 shifted left by this" }),
  inodesPerGroup: u32(0x28, { meaning: "inodes of one group" }),
  magic: u16(0x38, { meaning: "EF53", hex: true }),
  revision: u32(0x4c, { meaning: "0: inodes of 128 bytes" }),
  inodeSize: u16(0x58, { meaning: "size of an inode", unit: "bytes" }),
  incompatible: u32(0x60, { meaning: "features a reader must know", hex: true }),
  descriptorSize: u16(0xfe, { meaning: "size of a group descriptor with 64-bit numbers", unit: "bytes" }),
  blocksHigh: u32(0x150, { meaning: "upper half of the number of blocks" }),
  freeBlocksHigh: u32(0x158, { meaning: "upper half of the free blocks" }),
});
export type Superblock = LayoutValue<typeof SUPERBLOCK>;

export const GROUP = layout("ext4 group descriptor", 64, {
  inodeTableLow: u32(0x08, { meaning: "first block of the inodes" }),
  inodeTableHigh: u32(0x28, { meaning: "its upper half, with 64-bit numbers" }),
});

export const INODE = layout("ext4 inode", 130, {
  mode: u16(0x00, { meaning: "kind and permissions" }),
  uidLow: u16(0x02, { meaning: "owner" }),
  sizeLow: u32(0x04, { meaning: "size of the content", unit: "bytes" }),
  modified: u32(0x10, { meaning: "last change of the content", unit: "s since 1970" }),
  gidLow: u16(0x18, { meaning: "group" }),
  flags: u32(0x20, { meaning: "how the content is found", hex: true }),
  map: raw(0x28, 60, { meaning: "root of the extents, block numbers, or the text of a short link" }),
  attributesLow: u32(0x68, { meaning: "block of extended attributes" }),
  sizeHigh: u32(0x6c, { meaning: "upper half of the size" }),
  attributesHigh: u16(0x76, { meaning: "upper part of that block's number" }),
  uidHigh: u16(0x78, { meaning: "upper half of the owner" }),
  gidHigh: u16(0x7a, { meaning: "upper half of the group" }),
  extraSize: u16(0x80, { meaning: "bytes of the inode behind the first 128 that are in use", unit: "bytes" }),
});

export const EXTENT_MAGIC = 0xf30a;
export const EXTENT_NODE = layout("ext4 extent node", 12, {
  magic: u16(0, { meaning: "F30A", hex: true }),
  entries: u16(2, { meaning: "entries behind this" }),
  depth: u16(6, { meaning: "0: the entries are extents" }),
});
export const EXTENT = layout("ext4 extent", 12, {
  block: u32(0, { meaning: "first block of the file" }),
  length: u16(4, { meaning: "blocks; above 32768: so many more, and they read as zeros", unit: "blocks" }),
  startHigh: u16(6, { meaning: "upper part of the block on the medium" }),
  startLow: u32(8, { meaning: "block on the medium" }),
});
export const EXTENT_INDEX = layout("ext4 extent index", 12, {
  block: u32(0, { meaning: "first block of the file below it" }),
  leafLow: u32(4, { meaning: "block of the node" }),
  leafHigh: u16(8, { meaning: "upper part of its number" }),
});

export const DIRECTORY_ENTRY = layout("ext4 directory entry", 8, {
  inode: u32(0, { meaning: "0: not in use" }),
  size: u16(4, { meaning: "to the next entry", unit: "bytes" }),
  nameSize: u8(6, { meaning: "bytes of the name", unit: "bytes" }),
});

export const ATTRIBUTE_MAGIC = 0xea020000;
export const ATTRIBUTE = layout("ext4 attribute entry", 16, {
  nameSize: u8(0, { meaning: "bytes of the name behind its prefix" }),
  prefix: u8(1, { meaning: "number of what the name begins with" }),
  valueOffset: u16(2, { meaning: "where the value lies" }),
  valueInode: u32(4, { meaning: "inode with the value; 0: it lies here" }),
  valueSize: u32(8, { meaning: "size of the value", unit: "bytes" }),
});
