// The CD drives of an instance: what is in them, insert and eject, also while it runs.
import Button from "@cloudscape-design/components/button";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { del, putBody } from "../api/client";
import { mediaImages } from "../api/queries";
import type { Instance, MediaDrive } from "../api/types";
import { useFollow } from "../app/follow";
import { whyNot } from "../logic/bulk";
import { useColumns } from "./columns";
import { optionsOf } from "./fields";
import { FormDialog } from "./form-dialog";
import { SimpleTable } from "./simple-table";

/** An instance without drives gets its first one with the first medium. */
const drivesOf = (instance: Instance): MediaDrive[] =>
  instance.media.length > 0 ? instance.media : [{ slot: 0, media_image_id: null, media_image: null }];

function useMedia(instance: Instance) {
  const { t } = useTranslation("instances");
  const { ask } = useFollow();
  const path = (slot: number) => `/instances/${instance.id}/media/${slot}`;
  return {
    insert: (slot: number, id: unknown) => putBody(path(slot), { media_image_id: id }),
    eject: (drive: MediaDrive) => ask(t("media.ejecting", { name: drive.media_image ?? "", instance: instance.name }), () => del(path(drive.slot))),
  };
}

export function MediaDrives({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["instances", "common"]);
  const column = useColumns();
  const { eject } = useMedia(instance);
  const [inserting, setInserting] = useState<MediaDrive | null>(null);
  const refusal = whyNot(instance, "update");
  const nameOf = (drive: MediaDrive) => t("media.drive", { number: drive.slot + 1 });
  return (
    <>
      <SimpleTable<MediaDrive>
        title={t("media.title")}
        items={drivesOf(instance)}
        keyOf={(drive) => String(drive.slot)}
        nameOf={nameOf}
        empty={t("media.none")}
        columns={[
          column.text("drive", t("media.driveTitle"), nameOf, { shown: "always" }),
          column.text("image", t("common:mediaImage"), (drive) => drive.media_image ?? t("media.empty"), { shown: "always" }),
        ]}
        rowActions={[
          { id: "insert", text: t("media.insert"), whyNot: () => refusal, run: setInserting },
          { id: "eject", text: t("media.eject"), whyNot: (drive) => (drive.media_image_id ? refusal : t("media.empty")), run: (drive) => void eject(drive) },
        ]}
      />
      {inserting && <InsertMedia instance={instance} slot={inserting.slot} onClose={() => setInserting(null)} />}
    </>
  );
}

function InsertMedia({ instance, slot, onClose }: { instance: Instance; slot: number; onClose(): void }) {
  const { t } = useTranslation(["instances", "common"]);
  const { insert } = useMedia(instance);
  const all = useQuery(mediaImages("limit=1000&state=ready&sort=name"));
  return (
    <FormDialog
      title={t("media.insertTitle", { number: slot + 1, name: instance.name })}
      submit={t("media.insert")}
      fields={[
        {
          key: "media_image_id",
          kind: "choice",
          label: t("common:mediaImage"),
          options: optionsOf(all.data?.items),
          isLoading: all.isPending,
          noOptions: t("media.noImages"),
        },
      ]}
      send={(body) => insert(slot, body.media_image_id)}
      onClose={onClose}
    />
  );
}

/** In the console's bar: the first drive only. */
export function MediaButton({ instance }: { instance: Instance }) {
  const { t } = useTranslation("instances");
  const { eject } = useMedia(instance);
  const [isOpen, setOpen] = useState(false);
  const [drive] = drivesOf(instance);
  const refusal = whyNot(instance, "update");
  if (!drive) return null;
  return (
    <>
      {drive.media_image_id ? (
        <Button disabled={refusal !== null} disabledReason={refusal ?? undefined} onClick={() => void eject(drive)}>
          {t("media.ejectNamed", { name: drive.media_image ?? "" })}
        </Button>
      ) : (
        <Button disabled={refusal !== null} disabledReason={refusal ?? undefined} onClick={() => setOpen(true)}>
          {t("media.insertAny")}
        </Button>
      )}
      {isOpen && <InsertMedia instance={instance} slot={drive.slot} onClose={() => setOpen(false)} />}
    </>
  );
}
