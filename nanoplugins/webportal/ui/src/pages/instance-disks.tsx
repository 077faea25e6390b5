// An instance's disks and CD drives.
import Badge from "@cloudscape-design/components/badge";
import Button from "@cloudscape-design/components/button";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { del, patch, post } from "../api/client";
import { storagePools, volumes } from "../api/queries";
import type { Disk, Instance } from "../api/types";
import { useFormat } from "../app/format";
import { whyNot } from "../logic/bulk";
import type { Draft } from "../logic/draft";
import { GIB } from "../logic/format";
import { useColumns } from "../parts/columns";
import { Confirm } from "../parts/confirm";
import { Copy } from "../parts/facts";
import { optionsOf, type Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { MediaDrives } from "../parts/media-drives";
import { SimpleTable } from "../parts/simple-table";
import { useFollow } from "../app/follow";

/** As the volume is called in every other list. */
export const diskName = (instance: Instance, disk: Disk) => disk.name || `${instance.name}-${instance.disks.indexOf(disk)}`;

export function DisksTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["instances", "common"]);
  const column = useColumns();
  const [open, setOpen] = useState<{ kind: "add" | "edit" | "detach" | "delete"; disk?: Disk } | null>(null);
  const refusal = whyNot(instance, "update");
  const stores = useQuery(storagePools());
  const poolOf = (disk: Disk) => stores.data?.items.find((pool) => pool.id === disk.storage_pool_id)?.name;
  const notBoot = (disk: Disk) => (disk.is_boot ? t("disks.isBoot") : refusal);
  const close = () => setOpen(null);
  return (
    <SpaceBetween size="l">
      <SimpleTable<Disk>
        title={t("tabs.disks")}
        items={instance.disks}
        nameOf={(disk) => diskName(instance, disk)}
        empty={t("disks.none")}
        actions={
          <Button disabled={refusal !== null} disabledReason={refusal || t("notPossible")} onClick={() => setOpen({ kind: "add" })}>
            {t("create.addDisk")}
          </Button>
        }
        columns={[
          column.cell("name", t("common:name"), (disk) => <DiskCell instance={instance} disk={disk} />, { shown: "always" }),
          column.bytes("size", t("size"), (disk) => disk.size_bytes, { shown: "always" }),
          column.bytes("used", t("common:used"), (disk) => disk.used_bytes),
          column.text("pool", t("common:storagePool"), poolOf),
          column.text("image", t("common:diskImage"), (disk) => (disk.image_id ? (instance.image?.name ?? disk.image_id) : "")),
          column.text("kept", t("create.isKept"), (disk) => t(disk.is_kept ? "common:yes" : "common:no")),
          column.cell("id", t("volume"), (disk) => <Copy text={disk.id} label={disk.id.slice(0, 8)} />),
        ]}
        rowActions={[
          { id: "edit", text: t("disks.edit"), whyNot: () => refusal, run: (disk) => setOpen({ kind: "edit", disk }) },
          { id: "detach", text: t("disks.detach"), whyNot: notBoot, run: (disk) => setOpen({ kind: "detach", disk }) },
          { id: "delete", text: t("common:delete"), whyNot: notBoot, run: (disk) => setOpen({ kind: "delete", disk }) },
        ]}
      />
      <MediaDrives instance={instance} />
      {open?.kind === "add" && <AddDisk instance={instance} onClose={close} />}
      {open?.kind === "edit" && open.disk && <EditDisk instance={instance} disk={open.disk} onClose={close} />}
      {open?.disk && (open.kind === "detach" || open.kind === "delete") && (
        <RemoveDisk instance={instance} disk={open.disk} isKept={open.kind === "detach"} onClose={close} />
      )}
    </SpaceBetween>
  );
}

function DiskCell({ instance, disk }: { instance: Instance; disk: Disk }) {
  const { t } = useTranslation("instances");
  return (
    <>
      {diskName(instance, disk)} {disk.is_boot && <Badge color="blue">{t("boot")}</Badge>}
    </>
  );
}

interface DialogProps {
  instance: Instance;
  onClose(): void;
}

function AddDisk({ instance, onClose }: DialogProps) {
  const { t } = useTranslation(["instances", "common"]);
  const format = useFormat();
  const stores = useQuery(storagePools());
  const all = useQuery(volumes("limit=1000&sort=name"));
  const free = (all.data?.items ?? []).filter((volume) => !volume.instance_id && (!instance.node_id || volume.node_id === instance.node_id));
  const automatic = t("create.automatic");
  const options = [
    { value: "", label: t("create.newDisk") },
    ...free.map((volume) => ({ value: volume.id, label: volume.name, description: format.bytes(volume.size_bytes) })),
  ];
  const fields = (draft: Draft): Field[] => {
    const which: Field = { key: "volume_id", kind: "choice", label: t("create.diskOf"), options, placeholder: t("create.newDisk"), isLoading: all.isPending };
    const kept: Field = { key: "is_kept", kind: "check", label: t("create.isKept"), hint: t("create.isKeptText") };
    if (draft.volume_id) return [which, kept];
    return [
      which,
      { key: "size_bytes", kind: "number", unit: GIB, label: t("create.diskSize") },
      { key: "name", label: t("common:name") },
      { key: "storage_pool_id", kind: "choice", label: t("common:storagePool"), options: optionsOf(stores.data?.items, automatic), placeholder: automatic },
      kept,
    ];
  };
  return (
    <FormDialog
      title={t("disks.addTitle", { name: instance.name })}
      submit={t("create.addDisk")}
      fields={fields}
      item={{ size_bytes: 10 * GIB }}
      send={(body) => post(`/instances/${instance.id}/disks`, body)}
      onClose={onClose}
    />
  );
}

function EditDisk({ instance, disk, onClose }: DialogProps & { disk: Disk }) {
  const { t } = useTranslation(["instances", "common"]);
  const isSmaller = (draft: Draft) => Number(draft.size_bytes) * GIB < disk.size_bytes && draft.size_bytes !== undefined;
  return (
    <FormDialog
      title={t("disks.editTitle", { name: diskName(instance, disk) })}
      submit={t("common:save")}
      note={t("disks.editText")}
      fields={(draft) => [
        { key: "name", label: t("common:name") },
        { key: "size_bytes", kind: "number", unit: GIB, label: t("create.diskSize") },
        ...(isSmaller(draft) && "name" in draft
          ? [{ key: "is_shrink_confirmed", kind: "check" as const, label: t("disks.shrink"), hint: t("disks.shrinkText") }]
          : []),
        { key: "is_kept", kind: "check", label: t("create.isKept"), hint: t("create.isKeptText") },
      ]}
      item={disk}
      isEdit
      send={(body) => patch(`/instances/${instance.id}/disks/${disk.id}`, body)}
      onClose={onClose}
    />
  );
}

function RemoveDisk({ instance, disk, isKept, onClose }: DialogProps & { disk: Disk; isKept: boolean }) {
  const { t } = useTranslation(["instances", "common"]);
  const { follow, refresh } = useFollow();
  const format = useFormat();
  const title = t(isKept ? "disks.detachTitle" : "disks.deleteTitle", { name: diskName(instance, disk), instance: instance.name });
  return (
    <Confirm
      title={title}
      actionLabel={t(isKept ? "disks.detach" : "common:delete")}
      typeName={isKept ? undefined : diskName(instance, disk)}
      onConfirm={async () => {
        const answer = await del(`/instances/${instance.id}/disks/${disk.id}?is_kept=${String(isKept)}`);
        void follow(title, answer).then(refresh);
      }}
      onClose={onClose}
    >
      {t(isKept ? "disks.detachText" : "disks.deleteText", { size: format.bytes(disk.size_bytes) })}
    </Confirm>
  );
}
