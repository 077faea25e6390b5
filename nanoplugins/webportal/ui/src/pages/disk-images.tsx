import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { del } from "../api/client";
import type { DiskImage } from "../api/types";
import { useFormat } from "../app/format";
import { useSession } from "../app/session";
import { useQueryClient } from "@tanstack/react-query";
import { Confirm } from "../parts/confirm";
import { Ago, Copy, Empty, StateBadge, Tags } from "../parts/facts";
import { Page } from "../parts/page";
import { ResourceTable, type Column } from "../parts/resource-table";
import { UploadCell } from "../parts/upload-cell";
import { UploadDialog } from "../parts/upload-dialog";

const STATES = ["ready", "uploading", "inspecting", "failed"];

export function DiskImagesPage() {
  const { t } = useTranslation(["images", "shell", "common"]);
  const { can } = useSession();
  const [isUploading, setUploading] = useState(false);
  const [selected, setSelected] = useState<DiskImage[]>([]);
  const [isDeleting, setDeleting] = useState(false);
  const columns = useImageColumns();
  const upload = (
    <Button
      variant="primary"
      iconName="upload"
      disabled={!can("image.create")}
      disabledReason={t("common:noPermission")}
      onClick={() => setUploading(true)}
    >
      {t("upload.action")}
    </Button>
  );
  return (
    <Page title={t("shell:diskImages")} description={t("text")}>
      <ResourceTable<DiskImage>
        topic="disk-images"
        title={t("list")}
        columns={columns}
        filters={[
          {
            field: "state",
            label: t("common:state"),
            options: STATES.map((value) => ({ value, label: t(`common:states.${value}`) })),
          },
          { field: "format", label: t("format") },
          { field: "tags", label: t("common:tags") },
        ]}
        defaultSort="name"
        selection={{ items: selected, change: setSelected }}
        actions={<Actions selected={selected} upload={upload} onDelete={() => setDeleting(true)} />}
        empty={<Empty title={t("emptyTitle")} text={t("text")} cli="nano disk-image upload FILE --name NAME" action={upload} />}
      />
      {isUploading && <UploadDialog onClose={() => setUploading(false)} />}
      {isDeleting && (
        <DeleteImages
          images={selected}
          onClose={() => {
            setDeleting(false);
            setSelected([]);
          }}
        />
      )}
    </Page>
  );
}

function Actions({ selected, upload, onDelete }: { selected: DiskImage[]; upload: React.ReactNode; onDelete(): void }) {
  const { t } = useTranslation(["images", "common"]);
  const navigate = useNavigate();
  const only = selected.length === 1 && selected[0]?.state === "ready" ? selected[0] : null;
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <Button disabled={selected.length === 0} disabledReason={t("selectFirst")} onClick={onDelete}>
        {t("common:delete")}
      </Button>
      <Button
        disabled={!only}
        disabledReason={t("selectReady")}
        onClick={() => void navigate(`/instances/create?image=${only?.id ?? ""}`)}
      >
        {t("createInstance")}
      </Button>
      {upload}
    </SpaceBetween>
  );
}

function DeleteImages({ images, onClose }: { images: DiskImage[]; onClose(): void }) {
  const { t } = useTranslation(["images", "common"]);
  const client = useQueryClient();
  return (
    <Confirm
      title={t("deleteTitle", { count: images.length })}
      actionLabel={t("common:delete")}
      onConfirm={async () => {
        try {
          for (const image of images) await del(`/disk-images/${image.id}`);
        } finally {
          await client.invalidateQueries({ queryKey: ["disk-images"] });
        }
      }}
      onClose={onClose}
    >
      <ul>
        {images.map((image) => (
          <li key={image.id}>{image.name}</li>
        ))}
      </ul>
      {t("deleteText")}
    </Confirm>
  );
}

function useImageColumns(): Column<DiskImage>[] {
  const { t } = useTranslation(["images", "common"]);
  const format = useFormat();
  return [
    { id: "name", header: t("common:name"), cell: (row) => row.name, text: (row) => row.name, sort: "name", shown: "always" },
    {
      id: "state",
      header: t("common:state"),
      cell: (row) => <ImageState image={row} />,
      text: (row) => row.state,
      sort: "state",
      shown: "always",
      width: 160,
    },
    { id: "format", header: t("format"), cell: (row) => row.format || "–", text: (row) => row.format },
    { id: "size", header: t("fileSize"), cell: (row) => format.bytes(row.size_bytes), text: (row) => String(row.size_bytes), sort: "size_bytes", shown: "always" },
    {
      id: "virtual",
      header: t("virtualSize"),
      cell: (row) => (row.virtual_size_bytes ? format.bytes(row.virtual_size_bytes) : "–"),
      text: (row) => String(row.virtual_size_bytes),
    },
    { id: "digest", header: t("digest"), cell: (row) => (row.sha256 ? <Copy text={row.sha256} label={row.sha256.slice(0, 12)} /> : "–"), text: (row) => row.sha256 ?? "" },
    { id: "cached", header: t("cachedOn"), cell: (row) => t("common:cellCount", { count: row.cached_on.length }), text: (row) => row.cached_on.join(" "), shown: "never" },
    { id: "tags", header: t("common:tags"), cell: (row) => <Tags tags={row.tags} />, text: (row) => row.tags.join(" ") },
    { id: "created", header: t("common:created"), cell: (row) => <Ago iso={row.created_at} />, text: (row) => row.created_at, sort: "created_at" },
    { id: "description", header: t("common:description"), cell: (row) => row.description || "–", text: (row) => row.description, shown: "never" },
    { id: "id", header: t("common:id"), cell: (row) => <Copy text={row.id} />, text: (row) => row.id, shown: "never" },
  ];
}

function ImageState({ image }: { image: DiskImage }) {
  if (image.state === "uploading") return <UploadCell image={image} />;
  return (
    <>
      <StateBadge state={image.state} />
      {image.reason && (
        <Box color="text-status-error" fontSize="body-s">
          {image.reason}
        </Box>
      )}
    </>
  );
}
