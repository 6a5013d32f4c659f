import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

type ImageEndpoint = "saveImage" | "listImageSaves" | "showImageSave" | "followImageSave" | "cancelImageSave";

export function imageHandlers({ images }: Pick<Service, "images">): Handlers<ImageEndpoint> {
  return {
    saveImage: ({ who, params, body }) => images.save(who, params.vm, body),
    listImageSaves: ({ who, query }) => ({ imageSaves: images.list(who, query.vm) }),
    showImageSave: ({ who, params }) => images.show(who, params.id),
    async *followImageSave({ who, params, signal }) {
      for await (const data of images.follow(who, params.id, signal)) yield { event: "changed", data } as const;
    },
    cancelImageSave: ({ who, params }) => images.cancel(who, params.id),
  };
}
