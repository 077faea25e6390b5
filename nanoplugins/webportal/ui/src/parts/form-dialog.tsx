// A dialog with a form: sends what was typed, shows complaints at their fields, follows the operation that it begins.
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation } from "@tanstack/react-query";
import { useState, type FormEvent, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { bodyOf, changesOf, draftOf, type Body, type Draft } from "../logic/draft";
import { useFollow } from "../app/follow";
import { Fields, type Field } from "./fields";
import { useFocusFirstInDialog, useFocusInvalidInDialog } from "./focus";
import { ProblemAlert } from "./problem";

interface FormDialogProps {
  title: string;
  submit: string;
  fields: Field[] | ((draft: Draft) => Field[]);
  /** What the form begins with; with `isEdit` only what differs from it is sent. */
  item?: unknown;
  isEdit?: boolean;
  columns?: number;
  note?: ReactNode;
  warning?: ReactNode;
  /** More of the form, below the fields. */
  extra?(draft: Draft, change: (part: Draft) => void, error: unknown): ReactNode;
  send(body: Body, draft: Draft): Promise<unknown>;
  onClose(): void;
}

export function FormDialog(props: FormDialogProps) {
  const { t } = useTranslation();
  const { follow, refresh } = useFollow();
  const listed = (draft: Draft) => (typeof props.fields === "function" ? props.fields(draft) : props.fields);
  const [before] = useState(() => {
    const first = typeof props.fields === "function" ? props.fields((props.item ?? {}) as Draft) : props.fields;
    return { ...(props.extra ? (props.item as Draft) : {}), ...draftOf(first, props.item ?? {}) };
  });
  const [draft, setDraft] = useState<Draft>(before);
  const change = (part: Draft) => setDraft((old) => ({ ...old, ...part }));
  const fields = listed(draft);
  const send = useMutation({
    mutationFn: () => props.send(props.isEdit ? changesOf(fields, draft, before) : bodyOf(fields, draft), draft),
    onSuccess: (answer) => {
      props.onClose();
      void follow(props.title, answer).then(refresh);
    },
  });
  useFocusFirstInDialog();
  useFocusInvalidInDialog(send.error);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    // React hands events of a dialog on to the form that the dialog was opened from.
    event.stopPropagation();
    send.mutate();
  };
  return (
    <Modal
      visible
      size={(props.columns ?? 1) > 1 ? "large" : "medium"}
      header={props.title}
      onDismiss={props.onClose}
      closeAriaLabel={t("close")}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={props.onClose}>
              {t("cancel")}
            </Button>
            <Button variant="primary" loading={send.isPending} onClick={() => send.mutate()}>
              {props.submit}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form onSubmit={submit}>
        <SpaceBetween size="m">
          {props.note && <Box color="text-body-secondary">{props.note}</Box>}
          {props.warning && <Alert type="warning">{props.warning}</Alert>}
          <ProblemAlert error={send.error} />
          <Fields fields={fields} draft={draft} change={change} error={send.error} columns={props.columns} />
          {props.extra?.(draft, change, send.error)}
        </SpaceBetween>
        {/* So that Enter in a field sends the form; the visible button stands outside it. */}
        <button type="submit" hidden disabled={send.isPending} aria-hidden tabIndex={-1} />
      </form>
    </Modal>
  );
}
