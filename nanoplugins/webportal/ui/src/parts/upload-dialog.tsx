// Announces a disk image and starts sending its bytes.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FileUpload from "@cloudscape-design/components/file-upload";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { BASE, post } from "../api/client";
import type { CreatedDiskImage } from "../api/types";
import { fieldError } from "../api/problem";
import { useUploads } from "../app/uploads";
import { parseTags } from "../logic/draft";
import { ProblemAlert } from "./problem";

const nameOf = (file: File) => file.name.replace(/\.(qcow2|img|raw|vmdk|vdi|vhd|iso)$/i, "");

interface UploadDialogProps {
  topic: "disk-images" | "media-images";
  onClose(): void;
}

export function UploadDialog({ topic, onClose }: UploadDialogProps) {
  const { t } = useTranslation(["images", "common"]);
  const client = useQueryClient();
  const { begin } = useUploads();
  const [file, setFile] = useState<File | null>(null);
  const [draft, setDraft] = useState({ name: "", description: "", sha256: "", tags: "" });
  const change = (part: Partial<typeof draft>) => setDraft((before) => ({ ...before, ...part }));
  const create = useMutation({
    mutationFn: (chosen: File) =>
      post<CreatedDiskImage>(`/${topic}`, {
        name: draft.name || nameOf(chosen),
        size_bytes: chosen.size,
        description: draft.description,
        tags: parseTags(draft.tags),
        ...(draft.sha256 ? { sha256: draft.sha256.trim().toLowerCase() } : {}),
      }),
    onSuccess: (image, chosen) => {
      begin(image.id, image.upload_path ?? `${BASE}/uploads/${image.id}`, chosen);
      onClose();
      return client.invalidateQueries({ queryKey: [topic] });
    },
  });
  const field = (key: keyof typeof draft, label: string, hint?: string) => (
    <FormField label={label} constraintText={hint} errorText={fieldError(create.error, key)}>
      <Input value={draft[key]} onChange={({ detail }) => change({ [key]: detail.value })} />
    </FormField>
  );
  return (
    <Modal
      visible
      header={t("upload.action")}
      onDismiss={onClose}
      closeAriaLabel={t("common:close")}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              {t("common:cancel")}
            </Button>
            <Button
              variant="primary"
              loading={create.isPending}
              disabled={!file}
              disabledReason={t("upload.chooseFirst")}
              onClick={() => file && create.mutate(file)}
            >
              {t("upload.begin")}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <ProblemAlert error={create.error} />
        <FormField label={t("upload.file")} constraintText={t(topic === "disk-images" ? "upload.fileHint" : "upload.isoHint")} errorText={fieldError(create.error, "size_bytes")}>
          <FileUpload
            value={file ? [file] : []}
            showFileSize
            onChange={({ detail }) => {
              const chosen = detail.value[0] ?? null;
              setFile(chosen);
              if (chosen && !draft.name) change({ name: nameOf(chosen) });
            }}
            i18nStrings={{
              uploadButtonText: () => t("upload.choose"),
              dropzoneText: () => t("upload.drop"),
              removeFileAriaLabel: () => t("upload.remove"),
              limitShowFewer: t("common:less"),
              limitShowMore: t("common:more"),
              errorIconAriaLabel: t("common:error"),
            }}
          />
        </FormField>
        {field("name", t("common:name"))}
        {field("description", t("common:description"))}
        {field("tags", t("common:tags"))}
        {field("sha256", t("digest"), t("upload.digestHint"))}
      </SpaceBetween>
    </Modal>
  );
}
