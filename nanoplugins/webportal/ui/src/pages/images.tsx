// Disk images and media images: the same list, with what only one of them can do.
import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { BASE, post } from "../api/client";
import { instances } from "../api/queries";
import type { Image } from "../api/types";
import { useFormat } from "../app/format";
import { useSession } from "../app/session";
import { useColumns } from "../parts/columns";
import { Copy } from "../parts/facts";
import { optionsOf, type Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { ImageState } from "../parts/image-state";
import { NounPage } from "../parts/noun-page";
import { Actions } from "../parts/simple-table";
import { UploadDialog } from "../parts/upload-dialog";

export type ImageTopic = "disk-images" | "media-images";
const STATES = ["ready", "uploading", "creating", "inspecting", "failed"];

export function useEditFields(): Field[] {
  const { t } = useTranslation("common");
  return [
    { key: "name", label: t("name") },
    { key: "description", label: t("description") },
    { key: "tags", kind: "tags", label: t("tags"), hint: t("tagsHint") },
  ];
}

/** The browser saves it itself: no image is ever held in memory. */
export const downloadOf = (topic: ImageTopic, id: string) => `${BASE}/${topic}/${id}/content`;

export function ImagesPage({ topic }: { topic: ImageTopic }) {
  const { t } = useTranslation(["images", "shell", "common"]);
  const navigate = useNavigate();
  const [open, setOpen] = useState<"upload" | "import" | "build" | null>(null);
  const isDisk = topic === "disk-images";
  const key = isDisk ? "disk" : "media";
  const columns = useImageColumns(topic);
  const close = () => setOpen(null);
  return (
    <NounPage<Image>
      topic={topic}
      permission="image"
      cli={`nano ${isDisk ? "disk-image" : "media-image"} upload FILE --name NAME`}
      texts={{
        title: t(isDisk ? "shell:diskImages" : "shell:mediaImages"),
        text: t(`${key}.text`),
        create: t("upload.action"),
        empty: t(`${key}.empty`),
        edit: t("edit"),
        deleteTitle: (count) => t(`${key}.deleteTitle`, { count }),
        deleteText: t(`${key}.deleteText`),
      }}
      columns={columns}
      filters={[
        { field: "state", label: t("common:state"), options: STATES.map((value) => ({ value, label: t(`common:states.${value}`) })) },
        { field: "format", label: t("format") },
        { field: "tags", label: t("common:tags") },
      ]}
      onCreate={() => setOpen("upload")}
      editFields={useEditFields()}
      actions={(selected) => (
        <Actions>
          <More topic={topic} onOpen={setOpen} selected={selected} />
          {isDisk && (
            <Button
              disabled={selected.length !== 1 || selected[0]?.state !== "ready"}
              disabledReason={t("selectReady")}
              onClick={() => void navigate(`/instances/create?image=${selected[0]?.id ?? ""}`)}
            >
              {t("createInstance")}
            </Button>
          )}
        </Actions>
      )}
    >
      {open === "upload" && <UploadDialog topic={topic} onClose={close} />}
      {open === "import" && <ImportDialog topic={topic} onClose={close} />}
      {open === "build" && <BuildDialog onClose={close} />}
    </NounPage>
  );
}

interface MoreProps {
  topic: ImageTopic;
  selected: Image[];
  onOpen(dialog: "import" | "build"): void;
}

function More({ topic, selected, onOpen }: MoreProps) {
  const { t } = useTranslation(["images", "common"]);
  const { can } = useSession();
  const isReady = selected.length === 1 && selected[0]?.state === "ready";
  const refusal = can("image.create") ? undefined : t("common:noPermission");
  const create = (id: string, text: string) => ({ id, text, disabled: refusal !== undefined, disabledReason: refusal });
  return (
    <ButtonDropdown
      items={[
        create("import", t("import.action")),
        ...(topic === "disk-images" ? [create("build", t("build.action"))] : []),
        {
          id: "download",
          text: t("download"),
          disabled: !isReady,
          disabledReason: t("selectReady"),
          href: isReady ? downloadOf(topic, selected[0]?.id ?? "") : undefined,
        },
      ]}
      onItemClick={({ detail }) => {
        if (detail.id === "import" || detail.id === "build") onOpen(detail.id);
      }}
    >
      {t("more")}
    </ButtonDropdown>
  );
}

function useImageColumns(topic: ImageTopic) {
  const { t } = useTranslation(["images", "common"]);
  const column = useColumns();
  const format = useFormat();
  const isDisk = topic === "disk-images";
  return [
    column.name<Image>(topic),
    column.cell<Image>("state", t("common:state"), (row) => <ImageState image={row} />, { text: (row) => row.state, sort: "state", shown: "always", width: 160 }),
    column.text<Image>("version", t("version"), (row) => (format.number(row.version))),
    column.text<Image>("format", t("format"), (row) => row.format),
    column.bytes<Image>("size", t("fileSize"), (row) => row.size_bytes, { sort: "size_bytes", shown: "always" }),
    ...(isDisk ? [column.bytes<Image>("virtual", t("virtualSize"), (row) => row.virtual_size_bytes || null)] : []),
    column.cell<Image>("digest", t("digest"), (row) => (row.sha256 ? <Copy text={row.sha256} label={row.sha256.slice(0, 12)} /> : "–"), { text: (row) => row.sha256 ?? "", shown: "never" }),
    column.text<Image>("cached", t("cachedOn"), (row) => t("common:cellCount", { count: row.cached_on.length })),
    column.tags<Image>(),
    column.created<Image>(),
    { ...column.description<Image>(), shown: "never" as const },
    column.id<Image>(),
  ];
}

function ImportDialog({ topic, onClose }: { topic: ImageTopic; onClose(): void }) {
  const { t } = useTranslation(["images", "common"]);
  return (
    <FormDialog
      title={t("import.action")}
      submit={t("import.submit")}
      note={t("import.text")}
      fields={[
        { key: "name", label: t("common:name") },
        { key: "import_url", label: t("import.url") },
        { key: "sha256", label: t("digest"), hint: t("upload.digestHint") },
        { key: "description", label: t("common:description") },
        { key: "tags", kind: "tags", label: t("common:tags"), hint: t("common:tagsHint") },
      ]}
      send={(body) => post(`/${topic}`, body)}
      onClose={onClose}
    />
  );
}

export function BuildDialog({ instanceId, onClose }: { instanceId?: string; onClose(): void }) {
  const { t } = useTranslation(["images", "common"]);
  const all = useQuery({ ...instances("limit=1000&sort=name"), enabled: instanceId === undefined });
  const which: Field = {
    key: "from_instance_id",
    kind: "choice",
    label: t("common:instance"),
    options: optionsOf(all.data?.items),
    isLoading: all.isPending,
  };
  return (
    <FormDialog
      title={t("build.action")}
      submit={t("build.submit")}
      note={t("build.text")}
      fields={[
        { key: "name", label: t("common:name") },
        ...(instanceId ? [] : [which]),
        { key: "description", label: t("common:description") },
        { key: "tags", kind: "tags", label: t("common:tags"), hint: t("common:tagsHint") },
      ]}
      send={(body) => post("/disk-images", instanceId ? { ...body, from_instance_id: instanceId } : body)}
      onClose={onClose}
    />
  );
}
