// An upload's progress and speed, pause and resume; after a reload the file is asked for again.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ProgressBar from "@cloudscape-design/components/progress-bar";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { BASE } from "../api/client";
import type { Image } from "../api/types";
import { useFormat } from "../app/format";
import { useUploads } from "../app/uploads";
import { share } from "../logic/format";
import { ProblemText } from "./problem";

export function UploadCell({ image }: { image: Image }) {
  const { t } = useTranslation("images");
  const format = useFormat();
  const { uploads, pause, resume } = useUploads();
  const mine = uploads.get(image.id);
  const sent = mine?.progress.sent ?? image.uploaded_bytes;
  const line = t("upload.sent", { sent: format.bytes(sent), total: format.bytes(image.size_bytes) });
  const speed = mine && !mine.isPaused ? ` · ${format.rate(mine.progress.bytesPerSecond)}` : "";
  return (
    <SpaceBetween size="xxs">
      <ProgressBar
        ariaLabel={t("upload.progress", { name: image.name })}
        value={Math.floor(share(sent, image.size_bytes))}
        additionalInfo={line + speed}
      />
      {mine?.problem && (
        <Box color="text-status-error" fontSize="body-s">
          <ProblemText problem={mine.problem} />
        </Box>
      )}
      {mine ? (
        <Button variant="inline-link" onClick={() => (mine.isPaused ? resume(image.id) : pause(image.id))}>
          {t(mine.isPaused ? "upload.resume" : "upload.pause")}
        </Button>
      ) : (
        <ChooseAgain image={image} />
      )}
    </SpaceBetween>
  );
}

function ChooseAgain({ image }: { image: Image }) {
  const { t } = useTranslation("images");
  const { begin } = useUploads();
  const input = useRef<HTMLInputElement>(null);
  const [isOther, setOther] = useState(false);
  const choose = (file: File | undefined) => {
    if (!file) return;
    setOther(file.size !== image.size_bytes);
    if (file.size === image.size_bytes) begin(image.id, `${BASE}/uploads/${image.id}`, file);
  };
  return (
    <>
      <input
        ref={input}
        type="file"
        hidden
        aria-label={t("upload.chooseAgain")}
        onChange={(event) => choose(event.target.files?.[0])}
      />
      <Button variant="inline-link" onClick={() => input.current?.click()}>
        {t("upload.chooseAgain")}
      </Button>
      {isOther && <Box color="text-status-error">{t("upload.otherFile")}</Box>}
    </>
  );
}
