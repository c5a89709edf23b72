<#
.SYNOPSIS
    Makes and signs the catalog of a package that has none, on a machine with the Windows Driver Kit.
.DESCRIPTION
    For a package made elsewhere, whose wskguard.sys may be signed already. inf2cat writes wskguard.cat over the files as
    they are; it is then signed with a certificate of yours. Test signing only: nothing here makes a release.
.PARAMETER Thumbprint
    The signing certificate, in the current user's My store.
.PARAMETER Os
    What inf2cat is told the package is for.
#>
#Requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory)] [string] $Thumbprint,
    [string] $Os = '10_VB_X64,ServerFE_X64'
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
. "$PSScriptRoot\common.ps1"

$package = Get-PackageFolder
Invoke-Tool 'inf2cat.exe' @("/driver:$package", "/os:$Os", '/verbose') | Write-Host
$catalog = Join-Path $package 'wskguard.cat'
Invoke-Tool 'signtool.exe' @('sign', '/fd', 'SHA256', '/sha1', $Thumbprint, $catalog) | Write-Host
foreach ($file in 'wskguard.sys', $InfName) {
    Invoke-Tool 'signtool.exe' @('verify', '/pa', '/c', $catalog, (Join-Path $package $file)) | Write-Host
}
