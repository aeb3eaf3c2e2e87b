/** The OTA image an SDK release ships, made from the card's own configuration (specification section 6.3). */
import { printable } from "../../core/text.ts";
import type { CardImage, Image, Partition } from "./model.ts";
import { configError } from "./values.ts";

/** Size of the zero-filled application the SDK packs when there is no fast-boot program. */
export const EMPTY_RTAPP_SIZE = 4096;

const PAIRS = [
  ["rtt", "rtapp"],
  ["rtt_a", "rtapp_a"],
  ["rtt_b", "rtapp_b"],
] as const;

export interface OtaPlan {
  readonly image: CardImage;
  /** The application has no image in the configuration: zeros are packed. */
  readonly emptyRtapp: boolean;
}

/** Name under which {@link planOtaImage} asks for the zero-filled application. */
export const EMPTY_RTAPP = "\0empty rtapp";

/**
 * The two-part image for the first card image that has a system partition.
 * @throws OtaError K230_CONFIG when there is none
 */
export function planOtaImage(images: readonly Image[]): OtaPlan {
  for (const image of images) {
    if (image.kind === "foreign") continue;
    for (const [rttName, rtappName] of PAIRS) {
      const rtt = image.partitions.find((p) => p.name === rttName && p.image !== undefined);
      if (rtt === undefined) continue;
      const rtapp = image.partitions.find((p) => p.name === rtappName && p.image !== undefined);
      return { image: otaImage(image, rtt, rtapp), emptyRtapp: rtapp === undefined };
    }
  }
  throw configError(images[0]?.place ?? { file: "configuration", line: 1 }, "no partition rtt or rtt_a with an image", {
    found: images.map((i) => printable(i.name)).join(", "),
  });
}

function otaImage(card: CardImage, rtt: Partition, rtapp: Partition | undefined): CardImage {
  const plain = { inTable: false, load: false, boot: 0, eraseSize: 0, flag: 0n } as const;
  const application: Partition =
    rtapp === undefined
      ? {
          ...rtt,
          ...plain,
          name: "rtapp",
          image: EMPTY_RTAPP,
          offset: (rtt.offset ?? 0) + (rtt.size ?? 0),
          size: EMPTY_RTAPP_SIZE,
        }
      : { ...rtapp, ...plain, name: "rtapp" };
  return {
    kind: "kdimage",
    name: `${otaStem(card.name)}.kdimg`,
    place: card.place,
    tableType: "none",
    toc: false,
    tocOffset: card.tocOffset,
    mediumType: "mmc",
    pageSize: card.pageSize,
    align: card.align,
    diskSignature: 0,
    imageInfo: "ota_rtt_rtapp",
    chipInfo: "none",
    boardInfo: "none",
    partitions: [{ ...rtt, ...plain, name: "rtt" }, application],
  };
}

/** `card.kdimg` becomes `card_ota`. */
function otaStem(name: string): string {
  const stem = name.replace(/\.(kdimg|img|bin)$/, "");
  return stem.endsWith("_ota") ? stem : `${stem}_ota`;
}
