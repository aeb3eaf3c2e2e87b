# `make image-ota` with Otaforge in an existing SigmaStar tree.
#
# Include it behind the partition configuration, for instance at the end of image/Makefile:
#
#     include /path/to/otaforge/docs/image-ota.mk
#
# The tree's own make evaluates the configuration (also values that need a shell, which image-ota alone refuses); image-ota
# gets the finished values. Questions and results are those of the vendor's rule.
#
#     make image-ota                                    asks for every image
#     make image-ota IMAGE_OTA_FLAGS="--select kernel,rootfs --begin-script start.sh"      asks nothing

IMAGE_OTA ?= image-ota
IMAGE_OTA_GENERATION ?= v1.6
IMAGE_OTA_FLAGS ?=

image_ota_quote = '$(subst ','\'',$(1))'
image_ota_define = --define $(call image_ota_quote,$(1)=$(2))
image_ota_image = $(foreach key,OTABLK PATSIZE FSTYPE BLKENV OTAMASK,$(call image_ota_define,$(1)_$(image_ota_$(key)),$($(1)$($(key)))))
image_ota_OTABLK := otablk
image_ota_PATSIZE := patsize
image_ota_FSTYPE := fstype
image_ota_BLKENV := blkenv
image_ota_OTAMASK := otamask

.PHONY: image-ota
image-ota:
	@$(IMAGE_OTA) --config /dev/null --images $(call image_ota_quote,$(IMAGEDIR)) --generation $(IMAGE_OTA_GENERATION) \
	  $(call image_ota_define,OTA_IMAGE_LIST,$(OTA_IMAGE_LIST)) $(call image_ota_define,FLASH_TYPE,$(FLASH_TYPE)) \
	  $(foreach image,$(OTA_IMAGE_LIST),$(call image_ota_image,$(image))) $(IMAGE_OTA_FLAGS)
