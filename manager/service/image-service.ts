/** {@link ImageService} over what saves images: permissions first, then the work, then the audit log. */
import type { ImageSave, NewImageSave } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { printable } from "../../shared/terminal-text.ts";
import { assertMayDo, maySeeVm } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import type { ImageSaver } from "../images/image-saver.ts";
import type { Vms } from "../vms/vms.ts";
import { WakeUp } from "../wake-up.ts";
import type { Audited } from "./audited.ts";
import type { ImageService } from "./event-service.ts";

export interface ImageServiceParts {
  images: ImageSaver;
  vms: Pick<Vms, "resolve" | "byId">;
  audited: Audited;
}

export class ManagedImages implements ImageService {
  readonly #parts: ImageServiceParts;

  constructor(parts: ImageServiceParts) {
    this.#parts = parts;
  }

  async save(who: Principal, name: string, image: NewImageSave): Promise<ImageSave> {
    const vm = this.#parts.vms.resolve(who, name);
    const { audited, images } = this.#parts;
    const save = async () => {
      assertMayDo(who, "admin");
      return images.save(image, who.name, vm);
    };
    return audited(who, { action: "image.save", vm: vm.ref }, save);
  }

  list(who: Principal, name: string | undefined): ImageSave[] {
    assertMayDo(who, "admin");
    const vm = name === undefined ? undefined : this.#parts.vms.resolve(who, name);
    return this.#parts.images.list().filter((save) => {
      return this.#maySee(who, save) && (vm === undefined || save.vm.id === vm.ref.id);
    });
  }

  show(who: Principal, id: string): ImageSave {
    assertMayDo(who, "admin");
    const save = this.#parts.images.show(id);
    if (save !== undefined && this.#maySee(who, save)) return save;
    throw new CommandError("failed", `there is no saving of an image '${printable(id)}'`, { unknown: true });
  }

  async *follow(who: Principal, id: string, signal: AbortSignal): AsyncGenerator<ImageSave> {
    const news = new WakeUp();
    let save = this.show(who, id);
    const stopListening = this.#parts.images.onChange(id, () => {
      news.call();
    });
    try {
      while (!signal.aborted) {
        yield save;
        if (save.endedAt !== undefined) return;
        await news.wait(Infinity, signal);
        save = this.show(who, id);
      }
    } finally {
      stopListening();
    }
  }

  async cancel(who: Principal, id: string): Promise<ImageSave> {
    const { vm } = this.show(who, id);
    const { audited, images } = this.#parts;
    return audited(who, { action: "image.cancel", vm }, () => images.cancel(id));
  }

  /** By its VM's present name, as long as it has one. */
  #maySee(who: Principal, { vm }: ImageSave): boolean {
    return maySeeVm(who, this.#parts.vms.byId(vm.id)?.ref ?? vm);
  }
}
